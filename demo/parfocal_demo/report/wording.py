"""What the numbers allow to be said, in plain words.

A claim is made only where the 95 % interval excludes zero; everything else is reported as what it
is, a difference that this run cannot tell from none.
"""

from __future__ import annotations

import math

from parfocal_demo.intervals import Measure
from parfocal_demo.report.findings import Arm, Findings, PropagationMethod

TITLES = {
    "two-stream": "Two-stream",
    "random": "Random",
    "late-fusion": "Late fusion",
    "learned": "Learned",
    "confidence-and-area": "Confidence and area",
}
DETAILS = {
    "random": "random picks, each corrected by itself",
    "two-stream": "clusters of masks, in them clusters of images; a cell's majority goes to all",
    "late-fusion": "clusters of both streams side by side; a cell's majority goes to all",
    "learned": "a small model of confidence, shape, neighbours and both streams, fitted to random "
    "picks",
    "confidence-and-area": "control: logistic regression on the base model's own confidence and "
    "the area, fitted to random picks",
}


def number(value: float, *, sign: bool = False) -> str:
    """Return a share with three decimals and without the leading zero, as in `.874`."""
    if math.isnan(value):
        return "n/a"
    text = f"{abs(value):.3f}"
    text = text[1:] if text.startswith("0.") else text
    if sign and value >= 0:
        return f"+{text}"
    return f"−{text}" if value < 0 else text


def spread(measure: Measure, *, sign: bool = False) -> str:
    """Return the interval as `.85 to .89`, or nothing where none was measured."""
    if math.isnan(measure.low):
        return ""
    return f"{number(measure.low, sign=sign)} to {number(measure.high, sign=sign)}"


def duration(seconds: float) -> str:
    """Return seconds as `12 ms`, `48 s` or `7 min 12 s`."""
    if math.isnan(seconds):
        return "n/a"
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s"


def headline(findings: Findings) -> str:
    """Return the sentence on the two arms, with a claim only where there is one."""
    two, random = findings.arm("two-stream").rounds, findings.arm("random").rounds
    before = number(two[0].scores.average_precision.value)
    moved = (
        f"{two[-1].labels_total} answers moved the model's average precision on unseen tissue "
        f"from {before} to {number(two[-1].scores.average_precision.value)} where two-stream "
        f"chose the questions, and to {number(random[-1].scores.average_precision.value)} where "
        "they were drawn at random."
    )
    return f"{moved} {_between_models(findings.arms_difference)}"


def gain_sentence(arm: Arm) -> str:
    """Return whether an arm's fine-tuning moved the model at all."""
    gain = arm.rounds[-1].scores.average_precision_gain
    said = f"{number(gain.value, sign=True)} ({spread(gain, sign=True)})"
    if gain.low > 0:
        return f"{TITLES[arm.name]}: better than the base model, {said}."
    if gain.high < 0:
        return f"{TITLES[arm.name]}: worse than the base model, {said}."
    return f"{TITLES[arm.name]}: not distinguishable from the base model, {said}."


def lift_sentence(arm: Arm) -> str:
    """Return whether the last round of an arm found more errors than its random share."""
    difference = arm.rounds[-1].errors.difference
    if not difference.is_defined:
        return f"That cannot be said of round {arm.rounds[-1].round}: {difference.reason}."
    size = f"{number(difference.value, sign=True)} ({spread(difference, sign=True)})"
    if not difference.excludes_zero:
        return (
            f"In round {arm.rounds[-1].round} the difference in errors found, {size}, includes "
            "zero: no claim."
        )
    more = "more" if difference.value > 0 else "fewer"
    return (
        f"In round {arm.rounds[-1].round} an answer to {TITLES[arm.name].lower()} found {more} "
        f"errors than one to a random question, by {size}."
    )


def propagation_sentence(findings: Findings) -> str:
    """Return what carrying the labels of one budget to all candidates brought."""
    methods = {method.name: method for method in findings.propagation.methods}
    two, control = methods["two-stream"], methods["confidence-and-area"]
    start = findings.pool.correct_share.value
    said = (
        f"With {findings.propagation.budget} labels, two-stream makes {number(two.mean.value)} of "
        f"the {findings.pool.candidates} candidates right; before any label it is {number(start)}. "
    )
    return said + _verdict(two.over_random, "Two-stream", "random") + " " + _control(two, control)


def _control(two: PropagationMethod, control: PropagationMethod) -> str:
    differences = [a - b for a, b in zip(control.accuracy, two.accuracy, strict=True)]
    value = f"{number(control.mean.value)} against {number(two.mean.value)}"
    if all(difference > 0 for difference in differences):
        return (
            f"The control does better still on every seed, {value}: on these candidates the base "
            "model's own confidence, which costs nothing, is the stronger signal."
        )
    if all(difference < 0 for difference in differences):
        return f"The control does worse on every seed, {value}."
    return f"The control, {value}, is ahead on some seeds and behind on others."


def _between_models(difference: Measure) -> str:
    """Two models were compared, one of each arm: that is not yet two methods."""
    if not difference.excludes_zero:
        return _verdict(difference, "Two-stream", "random")
    better = "better" if difference.value > 0 else "worse"
    return (
        f"On this tissue the model of two-stream is {better} than that of random by "
        f"{number(difference.value, sign=True)} ({spread(difference, sign=True)}); one run of "
        "each cannot say whether the method is."
    )


def _verdict(difference: Measure, first: str, second: str) -> str:
    if not difference.is_defined:
        return f"The difference is undefined: {difference.reason}."
    size = f"{number(difference.value, sign=True)} ({spread(difference, sign=True)})"
    if math.isnan(difference.low):
        return f"The difference, {size.split(' (')[0]}, has no interval: no claim."
    if difference.excludes_zero:
        better = "better" if difference.value > 0 else "worse"
        return f"{first} is {better} than {second} by {size}."
    return f"The difference of {first.lower()} to {second}, {size}, includes zero: no claim."
