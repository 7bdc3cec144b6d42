"""Whether another round is worth its labels, from the accuracies that were measured so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from parfocal_loop.intervals import Interval
from parfocal_loop.shares import Share

FEWEST_MODELS = 3
IMPROBABLE = 0.1
"""A gain that is less probable than this is not worth a round."""

_METHOD = "curve"
_HALVINGS = 60

Floats = npt.NDArray[np.float64]
Shape = Callable[[Floats], Floats]


def _power(exponent: float) -> Shape:
    """Power law in labels, counted in rounds: it levels off sooner the greater the exponent."""
    return lambda rounds: (1 - (1 + rounds) ** -exponent) / exponent


def _exponential(rounds_to_level: float) -> Shape:
    return lambda rounds: 1 - np.exp(-rounds / rounds_to_level)


# From a curve that gains more in every round to curves that level off in the first. Both ends lie
# beyond what is to be expected, so that what is lies inside.
_SHAPES: tuple[Shape, ...] = (
    *(_power(exponent) for exponent in (-1.5, -1.0, -0.5)),
    np.log1p,
    *(_power(exponent) for exponent in (0.5, 1.0, 2.0)),
    *(_exponential(rounds) for rounds in (0.5, 1.0, 2.0, 4.0)),
)


class Verdict(Enum):
    """The advice in one word."""

    TOO_EARLY = "too early"
    GO_ON = "go on"
    STOP = "stop"


@dataclass(frozen=True)
class Measured:
    """A model whose accuracy was measured.

    Attributes:
        labels: Labels that were there when it was made.
        right: Its accuracy.
    """

    labels: int
    right: Share


@dataclass(frozen=True)
class Rule:
    """When more rounds are not worth their labels.

    Attributes:
        minimum_gain: The gain in accuracy that is worth a round.
        patience: Models in a row of which a greater gain must have been improbable.
    """

    minimum_gain: float = 0.01
    patience: int = 2


@dataclass(frozen=True)
class Advice:
    """Whether another round is worth its labels.

    Attributes:
        verdict: In one word.
        per_hundred: Gain in accuracy expected of the next hundred labels.
        next_round: Gain in accuracy expected of the next round.
        probability: Chance that the next round gains more than the rule's minimum; NaN where it
            is too early.
    """

    verdict: Verdict
    per_hundred: Interval
    next_round: Interval
    probability: float


@dataclass(frozen=True)
class Curve:
    """What is known of accuracy against labels: several shapes, each as probable as it fits.

    Under each shape accuracy is a line in some function of the labels: the labels themselves,
    their root, their logarithm, powers and exponentials that level off. The gain under one shape is
    normal; what is known in all is the mixture of these.

    Attributes:
        weights: (S,) float64, probabilities of the shapes.
        slopes: (S,) float64, expected slopes.
        errors: (S,) float64, standard errors of the slopes.
        step: Labels of a round.
    """

    weights: Floats
    slopes: Floats
    errors: Floats
    step: float

    def gain(self, start: float, stop: float, *, level: float) -> Interval:
        """Return the expected gain from `start` to `stop` labels, with its interval."""
        means, errors = self._gains(start, stop)
        tail = (1 - level) / 2
        return Interval(
            float(self.weights @ means),
            _mixture_quantile(self.weights, means, errors, tail),
            _mixture_quantile(self.weights, means, errors, 1 - tail),
            _METHOD,
        )

    def probability_of_more(self, gain: float, start: float, stop: float) -> float:
        """Return the chance that accuracy rises by more than `gain` from `start` to `stop`."""
        means, errors = self._gains(start, stop)
        return 1 - _mixture_cdf(self.weights, means, errors, gain)

    def _gains(self, start: float, stop: float) -> tuple[Floats, Floats]:
        ends = np.array([start, stop], np.float64) / self.step
        rises = np.array([np.diff(shape(ends))[0] for shape in _SHAPES])
        return self.slopes * rises, self.errors * rises


def advise(
    models: Sequence[Measured], *, labels: int, step: int, rule: Rule, level: float
) -> Advice:
    """Return whether another round is worth its labels.

    Stop means that a gain of more than the minimum is improbable now and was so at each of the
    last `patience` models, with what was known then. Whatever cannot be told means go on.

    Args:
        models: Oldest first, each measured on other answers.
        labels: Labels that were given so far.
        step: Labels that the next round will ask for.
        rule: When to stop.
        level: Confidence level of the intervals.
    """
    known = [model for model in models if model.right.labels]
    if not _is_curve(known):
        found = len({model.labels for model in known})
        reason = f"it takes {FEWEST_MODELS} models measured on random shares; so far: {found}"
        unknown = Interval.undefined(_METHOD, reason)
        return Advice(Verdict.TOO_EARLY, unknown, unknown, math.nan)
    curve = fit(known)
    chance = curve.probability_of_more(rule.minimum_gain, labels, labels + step)
    improbable = chance < IMPROBABLE and _was_improbable(known, step, rule)
    return Advice(
        verdict=Verdict.STOP if improbable else Verdict.GO_ON,
        per_hundred=curve.gain(labels, labels + 100, level=level),
        next_round=curve.gain(labels, labels + step, level=level),
        probability=chance,
    )


def _is_curve(models: Sequence[Measured]) -> bool:
    return len({model.labels for model in models}) >= FEWEST_MODELS


def _was_improbable(models: Sequence[Measured], step: int, rule: Rule) -> bool:
    """Whether it looked so before the newest models were measured, too."""
    for count in range(len(models) - rule.patience + 1, len(models)):
        if not _is_curve(models[: max(count, 0)]):
            return False
        labels = models[count].labels
        chance = fit(models[:count]).probability_of_more(rule.minimum_gain, labels, labels + step)
        if chance >= IMPROBABLE:
            return False
    return True


def fit(models: Sequence[Measured]) -> Curve:
    """Fit accuracy against labels; see `Curve`.

    Each model weighs as much as the answers it was measured on. Where the models scatter more than
    their answers explain, as training does, all errors grow to fit the scatter. Before the
    answers, every gain over the measured range is as likely as any other, under every shape.

    Args:
        models: At least three, of different numbers of labels.
    """
    labels = np.array([model.labels for model in models], np.float64)
    accuracies = np.array([model.right.value for model in models])
    errors = np.array([_standard_error(model.right) for model in models])
    step = float(np.median(np.diff(np.sort(labels)))) or 1.0
    fits = np.array([_line(shape(labels / step), accuracies, errors) for shape in _SHAPES])
    slopes, slope_errors, misfits, spans = fits.T
    scatter = max(1.0, float(misfits.min()) / max(len(models) - 2, 1))
    # A flat prior on the gain over the measured range, not on the slope: see above.
    likelihoods = np.exp(-(misfits - misfits.min()) / (2 * scatter)) * slope_errors * spans
    return Curve(
        weights=likelihoods / likelihoods.sum(),
        slopes=slopes,
        errors=slope_errors * math.sqrt(scatter),
        step=step,
    )


def _line(x: Floats, y: Floats, errors: Floats) -> tuple[float, float, float, float]:
    """Slope of a weighted line, its standard error, the misfit (chi squared), the span of x."""
    weights = errors**-2.0
    center = float(weights @ x / weights.sum())
    spread = float(weights @ (x - center) ** 2)
    slope = float(weights @ ((x - center) * y)) / spread
    level = float(weights @ y / weights.sum())
    misfit = float(weights @ (y - level - slope * (x - center)) ** 2)
    return slope, spread**-0.5, misfit, float(np.ptp(x))


def _standard_error(right: Share) -> float:
    # Drawn towards a half, so that answers that all agree do not count as without error.
    share = (right.value * right.effective + 1) / (right.effective + 2)
    return math.sqrt(share * (1 - share) / right.effective)


def _mixture_cdf(weights: Floats, means: Floats, errors: Floats, at: float) -> float:
    normal = NormalDist()
    parts = [normal.cdf((at - mean) / error) for mean, error in zip(means, errors, strict=True)]
    return float(weights @ np.array(parts))


def _mixture_quantile(weights: Floats, means: Floats, errors: Floats, share: float) -> float:
    low, high = float((means - 10 * errors).min()), float((means + 10 * errors).max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _mixture_cdf(weights, means, errors, middle) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
