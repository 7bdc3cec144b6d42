"""What a campaign allows to be said: a claim only where the interval excludes zero."""

from __future__ import annotations

from parfocal_bench.curves import Scale
from parfocal_bench.findings import ArmFindings, Findings
from parfocal_bench.protocol import RANDOM
from parfocal_demo.report.wording import number, spread

METRICS = {"auc": "ROC AUC", "accuracy": "accuracy"}


def metric(findings: Findings) -> str:
    """Return the metric in words."""
    return METRICS.get(findings.metric, findings.metric)


def sentence(arm: ArmFindings) -> str:
    """Return how an arm stands to random."""
    difference = arm.differences[Scale.LINEAR]
    size = f"{number(difference.value, sign=True)} ({spread(difference, sign=True)})"
    if arm.verdict == "no claim":
        return f"{arm.name}: no claim; the difference to random, {size}, includes zero."
    lost = "loses to random" if arm.verdict == "worse" else "is better than random"
    return f"{arm.name} {lost} by {size}."


def sentences(findings: Findings) -> list[str]:
    """Return how every arm stands to random."""
    return [sentence(arm) for arm in findings.arms if arm.name != RANDOM]


def percent(value: float) -> str:
    """Return a share as whole per cent."""
    return f"{100 * value:+.0f} %".replace("-", "−")
