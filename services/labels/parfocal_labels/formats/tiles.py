"""Which blocks of an array some boxes touch, so that nothing else of it is read or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Box, Triple

Boxes = npt.NDArray[np.int64]
"""(N, 6) z0, y0, x0, z1, y1, x1 of half-open boxes."""


def touched_blocks(boxes: Boxes, shape: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    """Yield the blocks of a grid that at least one of `boxes` touches, each once, z slowest."""
    first = boxes[:, :3] // block
    last = -(-boxes[:, 3:] // block)
    wanted = {
        index
        for low, high in zip(first.tolist(), last.tolist(), strict=True)
        for index in product(*map(range, low, high))
    }
    for index in sorted(wanted):
        start = [place * side for place, side in zip(index, block, strict=True)]
        stop = [min(low + side, end) for low, side, end in zip(start, block, shape, strict=True)]
        yield Box(_triple(start), _triple(stop))


def _triple(numbers: Sequence[int]) -> Triple:
    z, y, x = numbers
    return (z, y, x)
