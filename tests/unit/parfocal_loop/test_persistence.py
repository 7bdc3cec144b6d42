from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest

from parfocal_loop.persistence import persistently
from parfocal_loop.works import TakenOver
from parfocal_runtime.errors import Conflict, DomainError, InvalidInput, Unavailable

AWAY = Unavailable("ERROR_REASON_DEPENDENCY_UNAVAILABLE", "not now", service="labels")


class Attempts:
    """An action that fails in given ways, one at each call, and then returns `done`."""

    def __init__(self, *failures: Exception) -> None:
        self._left = list(failures)
        self.made = 0

    async def __call__(self) -> str:
        self.made += 1
        if self._left:
            raise self._left.pop(0)
        return "done"


def outcome(action: Callable[[], Awaitable[str]]) -> str:
    async def awaited() -> str:
        return await persistently(action)

    return asyncio.run(awaited())


def test_what_may_pass_is_tried_again() -> None:
    action = Attempts(AWAY)

    assert outcome(action) == "done"
    assert action.made == 2


def test_what_cannot_work_is_raised_at_once() -> None:
    action = Attempts(InvalidInput("ERROR_REASON_INVALID_FIELD", "no", field="x", value=1))

    with pytest.raises(InvalidInput):
        outcome(action)

    assert action.made == 1


def test_a_conflict_may_pass_but_not_that_another_controller_has_taken_over() -> None:
    reason = "ERROR_REASON_ETAG_MISMATCH"
    action = Attempts(Conflict(reason, "changed"), TakenOver(reason, "gone"), AWAY)

    with pytest.raises(TakenOver):
        outcome(action)

    assert action.made == 2


def test_what_nobody_foresaw_is_raised_after_three_attempts() -> None:
    action = Attempts(KeyError("first"), KeyError("second"), KeyError("third"))

    with pytest.raises(KeyError, match="third"):
        outcome(action)

    assert action.made == 3


def test_a_call_that_says_nothing_of_its_failure_may_work_when_repeated() -> None:
    action = Attempts(grpc.RpcError("lost"))

    assert outcome(action) == "done"
    assert action.made == 2


def test_a_call_that_never_works_ends_as_a_domain_error() -> None:
    action = Attempts(*[grpc.RpcError("lost")] * 3)

    with pytest.raises(DomainError, match="lost") as caught:
        outcome(action)

    assert isinstance(caught.value.__cause__, grpc.RpcError)
