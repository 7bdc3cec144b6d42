from __future__ import annotations

import pytest

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.convert import round_status_to_retry
from parfocal_loop.works import Work, WorkKey
from parfocal_runtime.errors import WrongState


def work_of(status: rounds.RoundStatus, *, finished: bool = True) -> Work:
    return Work(
        key=WorkKey("p", "round", "r"),
        spec=b"",
        status=status.SerializeToString(),
        finished=finished,
        cancel_requested=False,
        revision=7,
        create_time=0.0,
        update_time=0.0,
    )


def test_a_round_that_failed_keeps_what_it_made() -> None:
    failed = rounds.RoundStatus(
        state=artifacts.WORK_STATE_FAILED,
        failure=artifacts.Failure(reason="ERROR_REASON_EXPORT_PARITY"),
        steps=[rounds.StepStatus(state=artifacts.WORK_STATE_SUCCEEDED, artifact="a")],
        snapshot="s",
    )

    assert round_status_to_retry(work_of(failed)) == rounds.RoundStatus(
        state=artifacts.WORK_STATE_PENDING, steps=failed.steps, snapshot="s"
    )


@pytest.mark.parametrize(
    ("state", "finished", "why"),
    [
        (artifacts.WORK_STATE_SUCCEEDED, True, "made everything"),
        (artifacts.WORK_STATE_CANCELLED, True, "was stopped, and its queries were taken back"),
        (artifacts.WORK_STATE_RUNNING, False, "is under way"),
    ],
)
def test_others_have_nothing_to_retry(
    state: artifacts.WorkState.ValueType, finished: bool, why: str
) -> None:
    work = work_of(rounds.RoundStatus(state=state), finished=finished)

    with pytest.raises(WrongState, match=f"projects/p/rounds/r {why}") as caught:
        round_status_to_retry(work)

    assert caught.value.reason == "ERROR_REASON_NOTHING_TO_RETRY"
