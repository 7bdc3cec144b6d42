"""Shares of answers, of equal or unequal weight, and what several rounds say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """How many of some answers say one thing.

    Attributes:
        labels: Answers.
        hits: Answers that say it.
        value: The share of the population they stand for; NaN without answers.
        effective: Answers of equal weight that would tell as much; `labels` where all weigh the
            same.
    """

    labels: int
    hits: int
    value: float
    effective: float

    @classmethod
    def of_counts(cls, hits: int, labels: int) -> Share:
        """Return the share of answers that all weigh the same."""
        return cls(labels, hits, hits / labels if labels else math.nan, float(labels))

    @property
    def complement(self) -> Share:
        """The share of those that do not say it."""
        return Share(self.labels, self.labels - self.hits, 1 - self.value, self.effective)


def share_of(hits: Mask, weights: Weights | None = None) -> Share:
    """Return the share that a sample stands for.

    With unequal chances of being drawn this is the estimator of Hajek (1971): each answer counts
    as often as one over its chance. How many equal answers it is worth follows from its linearised
    variance, and from Kish's (1965) count where all answers agree and that variance is zero.

    Args:
        hits: (n,) bool.
        weights: (n,) float64 above 0, one over the chance of each to be drawn up to a common
            factor. None where all are equal.
    """
    count, found = len(hits), int(np.count_nonzero(hits))
    if weights is None or count == 0:
        return Share.of_counts(found, count)
    relative = weights / weights.sum()
    value = float(relative @ hits)
    kish = 1 / float(relative @ relative)
    if found in (0, count):
        return Share(count, found, float(found > 0), kish)
    variance = float((relative**2) @ ((hits - value) ** 2))
    return Share(count, found, value, min(value * (1 - value) / variance, float(count)))


def pooled(shares: Sequence[Share], sizes: Sequence[float]) -> Share:
    """Return the share in the populations of several samples together.

    Each sample counts by the size of the population that it was drawn from, not by its own: a
    round that drew more than its part must not count for more. Samples without answers are
    left out with their population.

    Args:
        shares: One for each sample.
        sizes: Members of the population that each was drawn from.
    """
    drawn = [(share, size) for share, size in zip(shares, sizes, strict=True) if share.labels]
    if not drawn:
        return Share.of_counts(0, 0)
    total = sum(size for _, size in drawn)
    parts = [(share, size / total) for share, size in drawn]
    return Share(
        labels=sum(share.labels for share, _ in parts),
        hits=sum(share.hits for share, _ in parts),
        value=sum(part * share.value for share, part in parts),
        effective=1 / sum(part**2 / share.effective for share, part in parts),
    )
