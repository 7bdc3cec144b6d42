"""Which candidates of a set were judged before, in an earlier round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PlacedBoxes:
    """Boxes of candidates and the images they lie in.

    Attributes:
        ids: (N,) int64, the candidates.
        images: (N,) strings, the image each lies in.
        boxes: (N, 6) int64, half-open: z0, y0, x0, z1, y1, x1.
    """

    ids: npt.NDArray[np.int64]
    images: npt.NDArray[np.str_]
    boxes: npt.NDArray[np.int64]

    def of(self, ids: Sequence[int]) -> PlacedBoxes:
        """Return those of the candidates `ids`."""
        rows = np.isin(self.ids, ids)
        return PlacedBoxes(self.ids[rows], self.images[rows], self.boxes[rows])


def seen_before(
    pool: PlacedBoxes, judged: PlacedBoxes, *, overlap: float = 0.5
) -> npt.NDArray[np.int64]:
    """Return the candidates of `pool` whose box overlaps one that was judged.

    A model that has learned proposes the same objects again with slightly other outlines, under
    other numbers. Two boxes of one image are the same object where their intersection over
    union is at least `overlap`.

    Returns:
        (K,) int64, ascending.
    """
    seen: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    for image in np.unique(judged.images):
        ours = np.flatnonzero(pool.images == image)
        theirs = judged.boxes[judged.images == image]
        for rows in _batches(ours):
            hit = (_intersection_over_union(pool.boxes[rows], theirs) >= overlap).any(axis=1)
            seen.append(pool.ids[rows[hit]])
    return np.sort(np.concatenate(seen))


def _batches(rows: npt.NDArray[np.intp], size: int = 4096) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _intersection_over_union(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    low = np.maximum(first[:, None, :3], second[None, :, :3])
    high = np.minimum(first[:, None, 3:], second[None, :, 3:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    both = _volume(first)[:, None] + _volume(second)[None, :] - common
    ratio: npt.NDArray[np.float64] = common / both
    return ratio


def _volume(boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    volume: npt.NDArray[np.int64] = (boxes[:, 3:] - boxes[:, :3]).prod(axis=1)
    return volume
