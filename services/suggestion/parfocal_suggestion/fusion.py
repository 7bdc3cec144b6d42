"""Several feature streams as one, with or without bringing them to the same scale."""

from __future__ import annotations

import numpy as np

from parfocal_suggestion.pool import Floats


def fuse(*streams: Floats, raw: bool) -> Floats:
    """Join streams side by side (N, sum of d).

    Unless `raw`, each stream is first divided by the square root of its total variance, so that
    no stream outweighs another by having more or larger columns. A stream without variance is
    left alone.

    Args:
        streams: (N, d) float32 each.
        raw: Leave every stream at its own scale.
    """
    return np.concatenate([block if raw else _unit_variance(block) for block in streams], axis=1)


def _unit_variance(block: Floats) -> Floats:
    total = float(np.sum(np.var(block, axis=0, dtype=np.float64))) if len(block) else 0.0
    return block / np.float32(np.sqrt(total)) if total > 0 else block
