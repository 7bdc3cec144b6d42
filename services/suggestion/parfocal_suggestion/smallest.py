"""The rows of the smallest keys, without sorting all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.pool import Rows


def smallest(keys: NDArray[Any], count: int) -> Rows:
    """Return the rows of the `count` smallest of `keys` (N,), smallest first, equals by row.

    They are the first `count` of a stable sort; NaN comes last, as there.
    """
    if count <= 0:
        return np.empty(0, np.intp)
    if count >= len(keys):
        return np.argsort(keys, kind="stable")
    limit = np.partition(keys, count - 1)[count - 1]
    # Not `<=`, which a NaN would fail on both sides.
    rows = np.flatnonzero(~(keys > limit))
    return rows[np.argsort(keys[rows], kind="stable")[:count]]
