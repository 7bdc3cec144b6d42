"""The rows for other programs, and the table as Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from parfocal_bench.cells import Finished
from parfocal_bench.curves import Scale
from parfocal_bench.findings import ArmFindings, Findings
from parfocal_bench.protocol import RANDOM
from parfocal_bench.report.wording import metric, percent, sentences
from parfocal_demo.intervals import Measure
from parfocal_demo.report.wording import duration, number, spread


def rows_csv(finished: Sequence[Finished]) -> str:
    """Return every row of every cell; what is undefined is empty."""
    names = sorted({name for one in finished for row in one.rows for name in row.values})
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["arm", "seed", "labels", *names])
    for one in finished:
        for row in one.rows:
            values = [row.values.get(name, math.nan) for name in names]
            shown = ["" if math.isnan(value) else repr(float(value)) for value in values]
            table.writerow([one.cell.arm, one.cell.seed, row.labels, *shown])
    return stream.getvalue()


def table_markdown(findings: Findings) -> str:
    """Return the tables and what they allow to be said, as Markdown."""
    counts = [f"{point.labels:g}" for point in findings.arms[0].curve]
    lines = [
        f"# {findings.title}",
        "",
        f"{metric(findings)}, {len(findings.seeds)} seeds; in brackets 95 % intervals over seeds, "
        "of differences paired by seed. Repeat it:",
        "",
        "```sh",
        _command(findings),
        "```",
        "",
        "![Learning curves](curves.png)",
        "",
        "![Differences of the areas](differences.png)",
        "",
        _line(["arm", *(f"at {count}" for count in counts)]),
        _rule(len(counts) + 1),
        *(_line([arm.name, *(_point(p.metric) for p in arm.curve)]) for arm in findings.arms),
        "",
        _line(["arm", *HEADINGS]),
        _rule(len(HEADINGS) + 1),
        *(_line([arm.name, *summary(arm, len(findings.seeds))]) for arm in findings.arms),
        "",
        *(f"* {text}" for text in sentences(findings)),
    ]
    if findings.warnings:
        lines += ["", "Doubtful:", "", *(f"* {text}" for text in findings.warnings)]
    return "\n".join(lines) + "\n"


HEADINGS = (
    "ALC, linear",
    "minus random",
    "seeds ahead",
    "ALC, log2",
    "minus random (log2)",
    "ALC, challenge",
    "labels saved",
    "foreground efficiency",
    "choosing, a cell",
    "lowest own-label accuracy",
)
"""Headings of the columns of `summary`."""


def summary(arm: ArmFindings, seeds: int) -> list[str]:
    """Return the line of an arm in the table of areas."""
    is_random = arm.name == RANDOM
    return [
        number(arm.areas[Scale.LINEAR].value),
        "" if is_random else _difference(arm.differences[Scale.LINEAR]),
        "" if is_random else f"{arm.ahead}/{seeds}",
        number(arm.areas[Scale.LOG2].value),
        "" if is_random else _difference(arm.differences[Scale.LOG2]),
        number(arm.areas[Scale.CHALLENGE].value),
        "" if is_random else _saving(arm.saving),
        _efficiency(arm.foreground_efficiency),
        duration(arm.seconds_choosing.value),
        number(arm.own_accuracy.value),
    ]


def _command(findings: Findings) -> str:
    arms = ",".join(sorted(arm.name for arm in findings.arms if arm.name != RANDOM))
    seeds = len(findings.seeds)
    device = findings.settings.get("device", "cpu")
    where = "" if device == "cpu" else f" --device {device}"
    return f"parfocal bench selection {findings.name} --seeds {seeds} --arms {arms}{where}"


def _point(measure: Measure) -> str:
    return f"{number(measure.value)} ({spread(measure)})"


def _difference(measure: Measure) -> str:
    text = f"{number(measure.value, sign=True)} ({spread(measure, sign=True)})"
    return f"**{text}**" if measure.excludes_zero else text


def _saving(measure: Measure) -> str:
    if not measure.is_defined:
        return "never gets there" if "never" in measure.reason else f"n/a: {measure.reason}"
    if math.isnan(measure.low):
        return percent(measure.value)
    return f"{percent(measure.value)} ({percent(measure.low)} to {percent(measure.high)})"


def _efficiency(measure: Measure) -> str:
    if not measure.is_defined:
        return "n/a"
    return f"{measure.value:.1f} ({measure.low:.1f} to {measure.high:.1f})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return "|" + " --- |" * columns
