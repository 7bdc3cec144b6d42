"""The charts: drawn once, saved as a picture and as SVG that follows the page's colours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from parfocal_demo.intervals import Measure
from parfocal_demo.report.drawing import INK, MUTED, RULE, STYLE, dress, svg
from parfocal_demo.report.findings import Arm, Findings
from parfocal_demo.report.wording import TITLES, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "two-stream": "#0f6b78",
    "random": "#8d6a2f",
    "late-fusion": "#5b6fa8",
    "learned": "#8a4f7d",
    "confidence-and-area": "#7a7f85",
}
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    **{colour: f"var(--{name})" for name, colour in _COLOURS.items()},
}


def save_learning_curve(findings: Findings, path: Path) -> None:
    """Write the learning curve as a PNG of 1600 x 720 pixels on white."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.5), layout="constrained")
        _draw_learning_curves(figure, findings)
        figure.savefig(path, dpi=160, facecolor="white")


def learning_curve_svg(findings: Findings) -> str:
    """Return the learning curves as inline SVG."""
    return _svg((10, 3.7), lambda figure: _draw_learning_curves(figure, findings))


def propagation_svg(findings: Findings) -> str:
    """Return the comparison of label propagation as inline SVG."""
    return _svg((10, 2.9), lambda figure: _draw_propagation(figure, findings))


def _svg(size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    text = svg(size, draw)
    text = re.sub(r'font-family: [^;"]*', "font-family: inherit", text)
    text = re.sub(r'(<svg [^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _draw_learning_curves(figure: Figure, findings: Findings) -> None:
    panels = figure.subplots(1, 3)
    quantities: list[tuple[str, Callable[[Arm], list[Measure]]]] = [
        ("Average precision, pixels", lambda arm: [t.scores.average_precision for t in arm.rounds]),
        ("Ground-truth profiles covered", lambda arm: [t.scores.coverage for t in arm.rounds]),
        ("ROC AUC, pixels", lambda arm: [t.scores.roc_auc for t in arm.rounds]),
    ]
    for axes, (title, measures) in zip(panels, quantities, strict=True):
        for place, arm in enumerate(findings.arms):
            _draw_curve(axes, arm, measures(arm), offset=0.6 * (place - 0.5))
        _dress(axes, title)
        axes.set_xlabel("answers given", color=MUTED)
        axes.set_xticks([turn.labels_total for turn in findings.arms[0].rounds])
    _name_curves(panels[0], findings)


def _draw_curve(axes: Axes, arm: Arm, measures: list[Measure], *, offset: float) -> None:
    labels = np.array([turn.labels_total for turn in arm.rounds], float)
    step = max(float(labels.max()), 1.0) / 100
    at = labels + offset * 2 * step
    colour = _COLOURS[arm.name]
    values = [measure.value for measure in measures]
    axes.plot(at, values, color=colour, linewidth=1.8, marker="o", markersize=4.5)
    for x, measure in zip(at, measures, strict=True):
        axes.plot([x, x], [measure.low, measure.high], color=colour, linewidth=1, alpha=0.55)


def _name_curves(axes: Axes, findings: Findings) -> None:
    """Write each arm's name beside its last point, the better one above the other."""
    order = sorted(findings.arms, key=lambda arm: arm.rounds[-1].scores.average_precision.value)
    for place, arm in enumerate(order):
        last = arm.rounds[-1]
        axes.annotate(
            TITLES[arm.name],
            (last.labels_total, last.scores.average_precision.value),
            xytext=(9, 14 * (place - 0.5)),
            textcoords="offset points",
            va="center",
            color=_COLOURS[arm.name],
            fontweight="bold",
        )
    axes.set_xlim(right=axes.get_xlim()[1] * 1.42)


def _dress(axes: Axes, title: str) -> None:
    dress(axes, title, number=lambda value: number(value).rstrip("0") or "0")
    axes.margins(x=0.08, y=0.16)


def _draw_propagation(figure: Figure, findings: Findings) -> None:
    axes = figure.subplots()
    methods = findings.propagation.methods
    for row, method in enumerate(methods):
        y = len(methods) - row
        colour = _COLOURS[method.name]
        axes.plot([method.mean.low, method.mean.high], [y, y], color=colour, linewidth=2.2)
        axes.plot(method.mean.value, y, "o", color=colour, markersize=8)
        jitter = y + np.linspace(-0.22, 0.22, len(method.accuracy))
        axes.plot(method.accuracy, jitter, "o", color=colour, markersize=3.4, alpha=0.5)
    start = findings.pool.correct_share.value
    axes.axvline(start, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.annotate(
        "before any label",
        (start, len(methods) + 0.62),
        xytext=(5, 0),
        textcoords="offset points",
        color=MUTED,
        fontsize=9,
        va="center",
    )
    _dress(axes, "Share of all candidates with the right label")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_yticks(
        range(len(methods), 0, -1), [TITLES[method.name] for method in methods], color=INK
    )
    axes.set_ylim(0.4, len(methods) + 0.9)
    axes.xaxis.set_major_formatter(lambda value, _: number(value).rstrip("0"))
