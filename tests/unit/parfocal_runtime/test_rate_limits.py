from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_runtime.errors import Exhausted
from parfocal_runtime.rate_limits import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def is_let_in(limiter: RateLimiter, caller: str = "ann") -> bool:
    try:
        limiter.take(caller)
    except Exhausted:
        return False
    return True


def test_after_a_rest_a_burst_is_let_in(clock: Clock) -> None:
    limiter = RateLimiter(10, burst=5, clock=clock)

    assert [is_let_in(limiter) for _ in range(7)] == [True] * 5 + [False] * 2


def test_the_refusal_says_when_the_next_call_is_let_in(clock: Clock) -> None:
    limiter = RateLimiter(10, burst=1, clock=clock)
    limiter.take("ann")

    with pytest.raises(Exhausted) as caught:
        limiter.take("ann")

    assert caught.value.reason == "ERROR_REASON_RATE_LIMITED"
    assert caught.value.metadata == {"limit": "10"}
    assert caught.value.retry_seconds == pytest.approx(0.1)
    clock.now += caught.value.retry_seconds or 0
    assert is_let_in(limiter)


def test_each_caller_has_a_limit_of_their_own(clock: Clock) -> None:
    limiter = RateLimiter(1, burst=1, clock=clock)

    assert [is_let_in(limiter, name) for name in ("ann", "bob", "ann")] == [True, True, False]


@given(
    pauses=st.lists(st.floats(0, 2), min_size=1, max_size=60),
    per_second=st.floats(0.5, 50),
    burst=st.integers(1, 20),
)
def test_no_span_of_time_lets_more_in_than_its_share_and_a_burst(
    pauses: list[float], per_second: float, burst: int
) -> None:
    clock = Clock()
    limiter = RateLimiter(per_second, burst=burst, clock=clock)
    times = []
    for pause in pauses:
        clock.now += pause
        if is_let_in(limiter):
            times.append(clock.now)

    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = burst + (times[last] - times[first]) * per_second
            assert last - first + 1 <= allowed + 1e-3


def test_refused_calls_do_not_prolong_the_wait(clock: Clock) -> None:
    limiter = RateLimiter(1, burst=1, clock=clock)
    limiter.take("ann")
    for _ in range(100):
        assert not is_let_in(limiter)

    clock.now += 1

    assert is_let_in(limiter)


def test_what_is_kept_is_bounded_and_those_over_their_limit_are_kept(clock: Clock) -> None:
    limiter = RateLimiter(1, burst=10, clock=clock, most_callers=100)
    for _ in range(10):
        limiter.take("busy")

    for number in range(5000):
        limiter.take(f"caller{number}")

    assert len(limiter) <= 100
    assert not is_let_in(limiter, "busy")


def test_callers_who_rested_are_forgotten(clock: Clock) -> None:
    limiter = RateLimiter(1, burst=1, clock=clock, most_callers=10)
    for number in range(10):
        limiter.take(f"caller{number}")

    clock.now += 10
    limiter.take("last")

    assert len(limiter) == 1
