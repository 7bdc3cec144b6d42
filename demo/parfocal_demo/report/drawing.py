"""How every chart of a report looks, and how one becomes SVG inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE = "#1b1d1f", "#666c72", "#d8dadc"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "parfocal",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


def dress(axes: Axes, title: str, *, number: Callable[[float], str]) -> None:
    """Give axes their title, rules and the numbers of the y axis, written by `number`."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, pad=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.tick_params(length=0, pad=5)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))


def svg(size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Return what `draw` draws, `size` inches wide and high, as an `<svg>` of any width."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(<svg [^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
