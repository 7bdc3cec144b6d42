from __future__ import annotations

import pytest

from parfocal_loop.progress import Counter, Progress


class Clock:
    """A clock that the test turns."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_that_of_what_was_made_and_not_of_what_was_there() -> None:
    clock = Clock()
    counter = Counter(110, "blocks", clock=clock)

    counter.found(90)
    clock.now += 60
    counter.made(2)

    assert counter.progress() == Progress(92 / 110, "92 of 110 blocks, about 9 min left", 540.0)


def test_nothing_is_promised_before_anything_was_made() -> None:
    counter = Counter(10, "ranges")
    counter.found(4)

    assert counter.progress() == Progress(0.4, "4 of 10 ranges", None)


def test_what_is_set_aside_is_not_waited_for() -> None:
    clock = Clock()
    counter = Counter(4, "blocks", clock=clock)
    clock.now += 2
    counter.made(2)
    counter.set_aside()

    assert counter.progress() == Progress(0.75, "2 of 4 blocks, 1 set aside, about 1 s left", 1.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(30, "30 s"), (90, "2 min"), (7200, "2 h"), (259200, "3 d")]
)
def test_the_time_left_is_told_in_units_that_people_use(seconds: int, words: str) -> None:
    clock = Clock()
    counter = Counter(2, "blocks", clock=clock)
    clock.now += seconds
    counter.made()

    assert counter.progress().message == f"1 of 2 blocks, about {words} left"
