"""The charts: learning curves, and how far every arm is from random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from parfocal_bench.curves import Scale
from parfocal_bench.findings import Findings
from parfocal_bench.protocol import RANDOM
from parfocal_bench.report.wording import metric
from parfocal_demo.report.drawing import INK, RULE, STYLE, dress, svg
from parfocal_demo.report.wording import number

if TYPE_CHECKING:
    pass

_RANDOM = INK
_COLOURS = (
    "#0f6b78",
    "#c2571a",
    "#5b6fa8",
    "#7a9a2e",
    "#a8447f",
    "#c9982a",
    "#2f8fd0",
    "#8a5a3c",
    "#6d5bb5",
    "#2e9d78",
    "#d2553b",
    "#7a7f85",
)


def save_curves(findings: Findings, path: Path) -> None:
    """Write the learning curves as a PNG on white."""
    _save(path, (11, 4.6), lambda figure: _draw_curves(figure, findings))


def save_differences(findings: Findings, path: Path) -> None:
    """Write the differences of the areas as a PNG on white."""
    _save(path, _size(findings), lambda figure: _draw_differences(figure, findings))


def curves_svg(findings: Findings) -> str:
    """Return the learning curves as inline SVG."""
    return svg((11, 4.6), lambda figure: _draw_curves(figure, findings))


def differences_svg(findings: Findings) -> str:
    """Return the differences of the areas as inline SVG."""
    return svg(_size(findings), lambda figure: _draw_differences(figure, findings))


def _size(findings: Findings) -> tuple[float, float]:
    return 8.5, 1.2 + 0.34 * len(findings.arms)


def _save(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})


def _colours(findings: Findings) -> dict[str, str]:
    others = sorted(arm.name for arm in findings.arms if arm.name != RANDOM)
    found = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(others)}
    return {RANDOM: _RANDOM, **found}


def _draw_curves(figure: Figure, findings: Findings) -> None:
    left, right = figure.subplots(1, 2)
    colours = _colours(findings)
    for arm in findings.arms:
        is_random = arm.name == RANDOM
        line: Any = {
            "color": colours[arm.name],
            "linewidth": 2.0 if is_random else 1.5,
            "linestyle": (0, (4, 2)) if is_random else "-",
            "marker": "o",
            "markersize": 3.5,
            "label": arm.name,
        }
        labels = [point.labels for point in arm.curve]
        left.plot(labels, [point.metric.value for point in arm.curve], **line)
        if is_random:
            continue
        right.plot(labels, [point.difference.value for point in arm.curve], **line)
        low = [point.difference.low for point in arm.curve]
        high = [point.difference.high for point in arm.curve]
        right.fill_between(labels, low, high, color=colours[arm.name], alpha=0.09, linewidth=0)
    right.axhline(0, color=_RANDOM, linewidth=2.0, linestyle=(0, (4, 2)))
    dress(left, f"{metric(findings)}, mean of {len(findings.seeds)} seeds", number=number)
    dress(right, "Minus random, paired by seed, with 95 % intervals", number=number)
    for axes in (left, right):
        axes.set_xlabel("labels")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, labelcolor=INK)


def _draw_differences(figure: Figure, findings: Findings) -> None:
    axes = figure.subplots()
    colours = _colours(findings)
    arms = [arm for arm in findings.arms if arm.name != RANDOM]
    for row, arm in enumerate(arms):
        y, difference = len(arms) - row, arm.differences[Scale.LINEAR]
        claimed = 1.0 if difference.excludes_zero else 0.45
        axes.plot(
            [difference.low, difference.high],
            [y, y],
            color=colours[arm.name],
            linewidth=2.4,
            alpha=claimed,
        )
        axes.plot(difference.value, y, "o", color=colours[arm.name], markersize=7, alpha=claimed)
    axes.axvline(0, color=_RANDOM, linewidth=1.5, linestyle=(0, (4, 2)))
    dress(
        axes,
        "Area under the learning curve (linear) minus random; pale: includes zero",
        number=number,
    )
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
    axes.set_yticks(range(len(arms), 0, -1), [arm.name for arm in arms], color=INK)
    axes.set_ylim(0.4, len(arms) + 0.6)
    axes.xaxis.set_major_formatter(lambda value, _: number(value, sign=True))
