"""Progress bars of work that goes on side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Show = Callable[[float, str], None]
"""Shows a fraction, 0 to 1, and what is being done."""

_ALMOST = 0.999
_DOING_CHARACTERS = 60


class Bars:
    """Shows a bar for everything that is at work, from any thread.

    A bar whose work is over is printed for good above those that still move. Where the output is
    no terminal, it is all that is printed.

    Args:
        console: Where the bars go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._moving = _progress(console)
        self._at_work = 0
        self._lock = threading.Lock()

    @contextmanager
    def bar(self, title: str) -> Iterator[Show]:
        """Show a bar for as long as the block runs."""
        with self._lock:
            if not self._at_work and self._console.is_terminal:
                self._moving.start()
            self._at_work += 1
        task = self._moving.add_task(f"{title:<45}", total=1.0, doing="")

        def show(fraction: float, doing: str) -> None:
            # A full bar stops its clock, and a step that is over is not yet the whole work.
            completed = min(fraction, _ALMOST)
            self._moving.update(task, completed=completed, doing=doing[:_DOING_CHARACTERS])

        try:
            yield show
            self._moving.update(task, completed=1.0, doing="")
        finally:
            self._end(task)

    def _end(self, task: TaskID) -> None:
        with self._lock:
            ended = next(one for one in self._moving.tasks if one.id == task)
            last = self._moving.make_tasks_table([ended])
            self._moving.remove_task(ended.id)
            self._moving.refresh()
            self._console.print(last)
            self._at_work -= 1
            if not self._at_work and self._moving.live.is_started:
                self._moving.stop()


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[doing]}"),
        console=console,
        transient=True,
    )
