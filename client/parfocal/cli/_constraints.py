"""Options that limit what is chosen together."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

import typer

from parfocal._constraints import constraints
from parfocal.cli._options import LARGEST_INTEGER, finite
from parfocal.suggestion.v1.constraints_pb2 import Constraints

Key = TypeVar("Key")
Value = TypeVar("Value")

PerImageOption = Annotated[
    int,
    typer.Option(
        "--per-image",
        min=0,
        max=LARGEST_INTEGER,
        help="At most so many of one image. 0: no limit.",
    ),
]
PerGroupOption = Annotated[
    list[str] | None,
    typer.Option(
        "--per-group",
        metavar="COLUMN[,COLUMN]=N",
        help="At most so many that agree in these columns of the candidate table. Repeatable.",
    ),
]
ApartOption = Annotated[
    float,
    typer.Option(
        "--apart",
        min=0,
        callback=finite,
        help="Nanometres between two of one image, at least.",
    ),
]
QuotaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--quota",
        metavar="CLASS=N",
        help="At most so many of a predicted class; with % or a point, of the budget. Repeatable.",
    ),
]
MaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mask", metavar="IMAGE=PATH", help="Array that image IMAGE is limited to. Repeatable."
    ),
]
MinutesOption = Annotated[
    float,
    typer.Option(
        "--minutes", min=0, callback=finite, help="Time for all together. Needs --seconds."
    ),
]
SecondsOption = Annotated[
    str,
    typer.Option("--seconds", help="Time for one: a number, or the column that has it for each."),
]


def constraints_of(
    *,
    per_image: int,
    per_group: list[str] | None,
    apart: float,
    quota: list[str] | None,
    mask: list[str] | None,
    minutes: float,
    seconds: str,
) -> Constraints | None:
    """Return what the options say, or None where they say nothing.

    Raises:
        typer.BadParameter: If one is not of its form.
    """
    limits = constraints(
        per_image=per_image,
        groups=_pairs(
            per_group,
            "--per-group",
            _columns,
            partial(_count, least=1),
            form="COLUMN=N or COLUMN,COLUMN=N with N from 1",
        ),
        apart_nm=apart,
        quotas=_pairs(
            quota,
            "--quota",
            _count,
            _number_or_share,
            form="CLASS=N, CLASS=P% with P from 0 to 100, or CLASS=SHARE such as 0.5",
        ),
        regions=_pairs(mask, "--mask", _count, str, form="IMAGE=PATH with IMAGE from 0"),
        minutes=minutes,
        seconds=_number_or_column(seconds),
    )
    return limits if limits != Constraints() else None


def _pairs(
    given: list[str] | None,
    option: str,
    key: Callable[[str], Key],
    value: Callable[[str], Value],
    *,
    form: str,
) -> dict[Key, Value]:
    found: dict[Key, Value] = {}
    for one in given or []:
        left, _, right = one.partition("=")
        try:
            if not (left and right):
                raise ValueError
            name, limit = key(left), value(right)
        except ValueError:
            raise typer.BadParameter(f"expected {form}, got {one!r}", param_hint=option) from None
        if name in found:
            raise typer.BadParameter(f"{left!r} is named twice", param_hint=option)
        found[name] = limit
    return found


def _count(text: str, *, least: int = 0) -> int:
    number = int(text)
    if not least <= number <= LARGEST_INTEGER:
        raise ValueError
    return number


def _columns(text: str) -> tuple[str, ...]:
    columns = tuple(text.split(","))
    if not all(columns):
        raise ValueError
    return columns


def _number_or_share(text: str) -> int | float:
    if not text.endswith("%") and "." not in text:
        return _count(text)
    share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def _number_or_column(text: str) -> float | str:
    try:
        seconds = float(text or 0)
    except ValueError:
        return text
    if not 0 <= seconds < math.inf:
        raise typer.BadParameter(
            f"expected a number above 0 or the name of a column, got {text!r}",
            param_hint="--seconds",
        )
    return seconds
