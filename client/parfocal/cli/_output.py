"""What commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message as plain values, its fields named as in the proto."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def print_json(value: object) -> None:
    """Print one JSON value on a line of its own."""
    typer.echo(json.dumps(value, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as wide as the terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        # Square brackets in a name are no markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(file=sys.stdout, highlight=False).print(table)


def print_messages(
    messages: Iterable[Message],
    *,
    as_json: bool,
    columns: Mapping[str, Callable[[Any], object]],
) -> None:
    """Print messages as a table, or one JSON object a line.

    Args:
        messages: What to print.
        as_json: Whether for a script.
        columns: By heading: what to show of a message.
    """
    if as_json:
        for message in messages:
            print_json(as_dict(message))
        return
    rows = ([show(message) for show in columns.values()] for message in messages)
    print_table(list(columns), rows)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show progress on standard error while inside the block, if that is a terminal."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        yield progress


@contextmanager
def working(on: str) -> Iterator[None]:
    """Show that something of unknown length goes on, if standard error is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(on):
        yield


class Stages:
    """Bars that appear when their stage begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, note="")
        self._progress.update(self._tasks[stage], completed=done, total=total)
