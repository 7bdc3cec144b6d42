"""How good a segmentation and its proposals are, by the definitions of the paper.

Pixel scores come from histograms of the 8-bit probability: with 256 levels they are exact, ties
included, and need no sort of millions of pixels. Everything undefined is NaN with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from parfocal_demo.intervals import CONFIDENCE, Measure, wilson

LEVELS = 256
BLOCK_PIXELS = 64
_EIGHT_CONNECTED = np.ones((3, 3), bool)
_RESAMPLES = 400

Probability = NDArray[np.uint8]
Truth = NDArray[np.bool_]
Histograms = NDArray[np.int64]
_Score = Callable[[Histograms], float]


@dataclass(frozen=True)
class SegmentationScore:
    """What one model version reaches on one part of an image.

    Attributes:
        roc_auc: Area under the ROC curve over pixels.
        average_precision: Average precision over pixels.
        coverage: Share of ground-truth profiles that the proposals cover.
        histograms: Pixel counts (block, truth, level) that the first two came from.
    """

    roc_auc: Measure
    average_precision: Measure
    coverage: Measure
    histograms: Histograms


def score_segmentation(
    probability: Probability, truth: Truth, *, proposals: Truth, min_pixels: int
) -> SegmentationScore:
    """Score a probability map and the proposals cut from it.

    The intervals of the pixel scores resample columns of 64 x 64 pixels through all sections: they
    tell how much the scores depend on the tissue looked at, not on retraining.

    Args:
        probability: uint8 (z, y, x).
        truth: Ground truth, (z, y, x).
        proposals: Voxels of all proposed components, (z, y, x).
        min_pixels: Ground-truth profiles below this area are not counted.
    """
    histograms = block_histograms(probability, truth)
    return SegmentationScore(
        roc_auc=_with_interval(roc_auc, histograms),
        average_precision=_with_interval(average_precision, histograms),
        coverage=profile_coverage(truth, proposals, min_pixels=min_pixels),
        histograms=histograms,
    )


def block_histograms(probability: Probability, truth: Truth) -> Histograms:
    """Count pixels by block, truth and probability: int64 (block, 2, 256)."""
    if probability.shape != truth.shape:
        raise ValueError(f"shapes differ: {probability.shape} and {truth.shape}")
    height, width = probability.shape[1:]
    counts = []
    for y in range(0, height, BLOCK_PIXELS):
        for x in range(0, width, BLOCK_PIXELS):
            block = (slice(None), slice(y, y + BLOCK_PIXELS), slice(x, x + BLOCK_PIXELS))
            code = probability[block].astype(np.int64) + LEVELS * truth[block]
            counts.append(np.bincount(code.ravel(), minlength=2 * LEVELS).reshape(2, LEVELS))
    return np.stack(counts)


def roc_auc(histogram: Histograms) -> float:
    """Chance that a positive pixel scores above a negative one, ties counting half.

    Args:
        histogram: Counts (2, 256) of negative and positive pixels by level.
    """
    negative, positive = histogram.astype(np.float64)
    if not negative.sum() or not positive.sum():
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (negative.sum() * positive.sum()))


def average_precision(histogram: Histograms) -> float:
    """Mean of the precision at each level, weighted by the recall gained there.

    Args:
        histogram: Counts (2, 256) of negative and positive pixels by level.
    """
    negative, positive = (np.cumsum(row[::-1].astype(np.float64)) for row in histogram)
    if not positive[-1]:
        return float("nan")
    called = negative + positive
    precision = np.divide(positive, called, out=np.zeros_like(positive), where=called > 0)
    return float((np.diff(positive, prepend=0) * precision).sum() / positive[-1])


def average_precision_gain(before: Histograms, after: Histograms) -> Measure:
    """Return how much `after` gains over `before` on the same blocks, with a paired interval."""
    if before.shape != after.shape:
        raise ValueError(f"blocks differ: {before.shape} and {after.shape}")
    gain = average_precision(after.sum(0)) - average_precision(before.sum(0))
    if not np.isfinite(gain):
        return Measure.undefined(_why(before.sum(0)))
    draws = [
        average_precision(after[chosen].sum(0)) - average_precision(before[chosen].sum(0))
        for chosen in _resamples(len(before))
    ]
    return Measure(gain, *_percentiles(draws))


def profile_coverage(truth: Truth, proposals: Truth, *, min_pixels: int) -> Measure:
    """Return the share of profiles of which proposals cover more than half, with Wilson interval.

    A profile is an 8-connected component of the truth in one section.
    """
    covered = total = 0
    for section, proposed in zip(truth, proposals, strict=True):
        profiles, count = ndimage.label(section, _EIGHT_CONNECTED)
        area = np.bincount(profiles.ravel(), minlength=count + 1)[1:]
        hit = np.bincount(profiles[proposed], minlength=count + 1)[1:]
        counted = area >= min_pixels
        total += int(counted.sum())
        covered += int((2 * hit > area)[counted].sum())
    if not total:
        return Measure.undefined(f"no profile of at least {min_pixels} pixels in this part")
    return wilson(covered, total)


def is_correct(component: Truth, truth: Truth) -> bool:
    """Return whether a proposal covers more than half of the truth in its box.

    Args:
        component: The predicted component inside its own bounding box.
        truth: The ground truth inside the same box. A box without any truth makes the
            proposal incorrect.
    """
    return bool(2 * int((component & truth).sum()) > int(truth.sum()))


def random_baseline(correct_share: float, *, labels: int, candidates: int) -> float:
    """Return the accuracy that one-by-one correction of a random sample is expected to reach.

    What is looked at becomes right, the rest stays as proposed (Lin et al., ECCV 2020).
    """
    looked_at = labels / candidates
    return correct_share * (1 - looked_at) + looked_at


def _with_interval(score: _Score, histograms: Histograms) -> Measure:
    value = score(histograms.sum(0))
    if not np.isfinite(value):
        return Measure.undefined(_why(histograms.sum(0)))
    draws = [score(histograms[chosen].sum(0)) for chosen in _resamples(len(histograms))]
    return Measure(value, *_percentiles(draws))


def _why(histogram: Histograms) -> str:
    if not histogram[1].sum():
        return "the part holds no positive pixel"
    return "the part holds no negative pixel"


def _resamples(blocks: int) -> NDArray[np.intp]:
    return np.random.default_rng(0).integers(blocks, size=(_RESAMPLES, blocks))


def _percentiles(draws: list[float]) -> tuple[float, float]:
    finite = [draw for draw in draws if np.isfinite(draw)]
    low, high = np.percentile(finite, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return float(low), float(high)
