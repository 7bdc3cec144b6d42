"""Bars of work that goes on side by side, and the work itself."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest
from rich.console import Console

from parfocal_demo.bars import Bars
from parfocal_demo.together import side_by_side

LONGEST = "Propose in the test part, two-stream, round 2"


def test_each_work_leaves_one_line_when_it_ends() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, width=80))
    with bars.bar(LONGEST), bars.bar("Score") as show:
        show(0.5, "half of it")
        assert out.getvalue() == ""
    lines = out.getvalue().splitlines()
    assert [line[: len(LONGEST)].rstrip() for line in lines] == ["Score", LONGEST]
    assert all(re.search(r"━ \d:\d\d:\d\d", line) for line in lines)


def test_the_clock_runs_until_the_work_ends() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, width=80))
    with bars.bar("A step after another") as show:
        show(1.0, "the first step is over")
        time.sleep(1.05)
    assert "0:00:00" not in out.getvalue()


def test_a_terminal_shows_what_is_at_work_and_ends_with_what_was_done() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, width=80, force_terminal=True, color_system=None))
    with bars.bar("First"):
        assert "First" in out.getvalue()
        with bars.bar("Second"):
            pass
    with bars.bar("Third"):
        pass
    shown = out.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2, "the cursor comes back"
    assert all(f"{title:<45} ━" in shown for title in ("First", "Second", "Third"))


def test_work_that_fails_leaves_its_line() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, width=80))
    with pytest.raises(RuntimeError), bars.bar("Fails"):
        raise RuntimeError
    assert out.getvalue().startswith("Fails")


def test_both_works_are_at_it_at_once() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def first() -> str:
        meeting.wait()
        return "first"

    def second() -> int:
        meeting.wait()
        return 2

    assert side_by_side(first, second) == ("first", 2)


def test_the_wait_ends_with_the_first_failure() -> None:
    freed = threading.Event()

    def fails() -> None:
        raise RuntimeError("no")

    try:
        with pytest.raises(RuntimeError, match="no"):
            side_by_side(lambda: freed.wait(10), fails)
        assert not freed.is_set()
    finally:
        freed.set()
