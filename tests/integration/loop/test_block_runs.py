"""What becomes of blocks that fail, with an inference service that fails as the test says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc
import pytest

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.inference.v1 import inference_service_pb2 as inference
from parfocal.inference.v1 import inference_service_pb2_grpc as inference_grpc
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal_loop.block_runs import ATTEMPTS, BlocksRefused, Quarantine, run_blocks
from parfocal_loop.bulk import Bulk
from parfocal_loop.messages import box_to_pb
from parfocal_loop.peers import Address
from parfocal_loop.progress import Progress
from parfocal_runtime.box import Box
from parfocal_runtime.config import ServerConfig
from parfocal_runtime.errors import (
    Cancelled,
    DomainError,
    InvalidInput,
    NotFound,
    Unavailable,
    WrongState,
)
from parfocal_runtime.server import Service, serving_in_thread
from parfocal_runtime.tasks import CancelFlag

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# Takes the number of a block and of the try, and says what goes wrong.
Fails: TypeAlias = Callable[[int, int], DomainError | None]
NAME = "parfocal.inference.v1.InferenceService"
DAMAGED = InvalidInput("ERROR_REASON_INVALID_ARTIFACT", "it is damaged", path="i")


class Scripted(inference_grpc.InferenceServiceServicer):
    """A service whose blocks fail by a script; those of a real one fail when they like."""

    def __init__(self, fails: Fails) -> None:
        self.calls: Counter[int] = Counter()
        self._fails = fails

    async def SegmentBlock(
        self, request: inference.SegmentBlockRequest, context: Context
    ) -> inference.SegmentBlockResponse:
        number = request.box.start.x
        self.calls[number] += 1
        error = self._fails(number, self.calls[number])
        if error is not None:
            raise error
        return inference.SegmentBlockResponse()

    async def ProposeCandidates(
        self, request: inference.ProposeCandidatesRequest, context: Context
    ) -> inference.ProposeCandidatesResponse:
        raise AssertionError("nobody asks")

    async def DetectPatches(
        self, request: inference.DetectPatchesRequest, context: Context
    ) -> inference.DetectPatchesResponse:
        raise AssertionError("nobody asks")


@pytest.fixture(scope="module")
def bulk() -> Iterator[Bulk]:
    bulk = Bulk(scheduler="", threads=4)
    yield bulk
    bulk.close()


@contextmanager
def served(fails: Fails) -> Iterator[tuple[Scripted, Address]]:
    scripted = Scripted(fails)

    def register(server: grpc.aio.Server) -> None:
        inference_grpc.add_InferenceServiceServicer_to_server(scripted, server)

    config = ServerConfig(port=0, anonymous_role="curator")
    with serving_in_thread([Service(names=(NAME,), register=register)], config) as server:
        yield scripted, Address(server.address, token="")


def requests(count: int) -> list[inference.SegmentBlockRequest]:
    boxes = [Box((0, 0, number), (1, 1, number + 1)) for number in range(count)]
    return [
        inference.SegmentBlockRequest(
            image="projects/p/images/i/0",
            prediction="projects/p/predictions/i/0",
            model=artifacts.ModelVersion(name="m", version=1),
            box=box_to_pb(box),
        )
        for box in boxes
    ]


def run(
    bulk: Bulk,
    address: Address,
    *,
    count: int = 6,
    quarantine: Quarantine | None = None,
    cancel: CancelFlag | None = None,
) -> list[Progress]:
    seen: list[Progress] = []
    run_blocks(
        bulk,
        address,
        requests(count),
        quarantine=quarantine or Quarantine(),
        report=seen.append,
        cancel=cancel or CancelFlag(),
    )
    return seen


def test_a_block_that_fails_again_and_again_is_set_aside_and_the_others_are_made(
    bulk: Bulk,
) -> None:
    quarantine = Quarantine()
    with (
        served(lambda number, _: DAMAGED if number == 2 else None) as (service, address),
        pytest.raises(WrongState) as caught,
    ):
        run(bulk, address, quarantine=quarantine)

    assert caught.value.reason == "ERROR_REASON_BLOCKS_QUARANTINED"
    assert caught.value.metadata == {
        "blocks": "1",
        "tolerated": "0",
        "first_reason": "ERROR_REASON_INVALID_ARTIFACT",
    }
    assert service.calls == {number: ATTEMPTS if number == 2 else 1 for number in range(6)}
    (aside,) = quarantine.blocks
    assert (aside.box, aside.attempts) == (requests(6)[2].box, ATTEMPTS)
    assert aside.failure == artifacts.Failure(
        reason="ERROR_REASON_INVALID_ARTIFACT", message="it is damaged", metadata={"path": "i"}
    )


def test_as_many_as_are_tolerated_fail_nothing(bulk: Bulk) -> None:
    quarantine = Quarantine(tolerated=1)
    with served(lambda number, _: DAMAGED if number == 2 else None) as (_, address):
        *_, last = run(bulk, address, quarantine=quarantine)

    assert len(quarantine.blocks) == 1
    assert (last.fraction, last.message) == (1.0, "5 of 6 blocks, 1 set aside")


def test_what_is_in_quarantine_is_not_tried(bulk: Bulk) -> None:
    known = jobs.QuarantinedBlock(box=requests(6)[4].box, attempts=ATTEMPTS)
    with served(lambda _number, _try: None) as (service, address):
        run(bulk, address, quarantine=Quarantine([known], tolerated=1))

    assert sorted(service.calls) == [0, 1, 2, 3, 5]


def test_many_blocks_are_asked_for_some_at_a_time(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parfocal_loop.block_runs._MOST_ASKED", 4)
    quarantine = Quarantine(tolerated=1)
    with served(lambda number, _: DAMAGED if number == 1 else None) as (service, address):
        *_, last = run(bulk, address, count=10, quarantine=quarantine)

    assert service.calls == {number: ATTEMPTS if number == 1 else 1 for number in range(10)}
    assert (last.fraction, last.message) == (1.0, "9 of 10 blocks, 1 set aside")


def test_a_block_that_fails_once_is_made_in_the_end(bulk: Bulk) -> None:
    oops = DomainError("ERROR_REASON_INTERNAL", "oops")
    with served(lambda _, attempt: oops if attempt == 1 else None) as (service, address):
        *_, last = run(bulk, address)

    assert set(service.calls.values()) == {2}
    assert last.fraction == 1.0


def test_what_passes_is_waited_for_and_counts_against_no_block(bulk: Bulk) -> None:
    away = Unavailable("ERROR_REASON_DEPENDENCY_UNAVAILABLE", "no store", service="object store")
    with served(lambda _, attempt: away if attempt <= ATTEMPTS else None) as (service, address):
        run(bulk, address, count=1)

    assert service.calls == {0: ATTEMPTS + 1}


def test_what_can_never_work_ends_it_at_once_with_its_own_reason(bulk: Bulk) -> None:
    missing = NotFound("ERROR_REASON_MODEL_NOT_FOUND", "there is no m", model="m")
    with (
        served(lambda _number, _try: missing) as (service, address),
        pytest.raises(BlocksRefused) as caught,
    ):
        run(bulk, address)

    assert caught.value.reason == "ERROR_REASON_MODEL_NOT_FOUND"
    assert set(service.calls.values()) == {1}


def test_where_no_block_can_be_made_the_reason_is_theirs(bulk: Bulk) -> None:
    unfit = WrongState("ERROR_REASON_MODEL_NOT_READY", "it says NaN", model="m", version=1)
    with (
        served(lambda _number, _try: unfit) as (_, address),
        pytest.raises(BlocksRefused) as caught,
    ):
        run(bulk, address, count=2, quarantine=Quarantine(tolerated=2))

    assert caught.value.reason == "ERROR_REASON_MODEL_NOT_READY"


def test_nobody_at_the_address_is_waited_for_until_somebody_stops_it(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parfocal_loop.calls._CONNECT_SECONDS", 0.05)
    cancel, quarantine, seen = CancelFlag(), Quarantine(), 0

    def report(_: Progress) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            cancel.set()

    with pytest.raises(Cancelled):
        run_blocks(
            bulk,
            Address("127.0.0.1:1", token=""),
            requests(1),
            quarantine=quarantine,
            report=report,
            cancel=cancel,
        )

    assert not quarantine.blocks
