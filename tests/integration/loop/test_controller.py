from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

import parfocal_loop
from loop_lab import PARENT, PROJECT, TRUE, LoopLab, apart, loop_lab, spec_of
from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.labels.v1 import labels_service_pb2 as labels
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.training.v1 import training_service_pb2 as training
from parfocal_loop.actions import Means
from parfocal_loop.controller import Controller, Pace
from parfocal_loop.learning import run_names
from parfocal_loop.metrics import LoopMetrics
from parfocal_loop.peers import Address, Addresses, Peers
from parfocal_loop.schema import VERSION_TABLE
from parfocal_loop.turn import fresh_status
from parfocal_loop.works import Work, WorkKey, WorkStore
from parfocal_runtime.database import Database, migrate

MIGRATIONS = Path(parfocal_loop.__file__).parent / "migrations"
ROUND, JOB = WorkKey(PROJECT, "round", "now"), WorkKey(PROJECT, "job", "j")
SUCCEEDED, CANCELLED = artifacts.WORK_STATE_SUCCEEDED, artifacts.WORK_STATE_CANCELLED
TAKEN_OVER = "another controller has taken over"
# Nothing here takes as long, unless it hangs.
PATIENCE = 20


class Heard(logging.Handler):
    """What the controller says in its log."""

    def __init__(self) -> None:
        super().__init__()
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, dict)
        self._events[record.msg["event"]].set()

    async def wait_for(self, event: str) -> None:
        """Wait until it says this, if it has not."""
        await asyncio.wait_for(self._events[event].wait(), PATIENCE)


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("parfocal_loop.controller")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class Gate:
    """A way to PostgreSQL that can be shut: what is in it is cut off, and nobody gets in."""

    def __init__(self, dsn: str) -> None:
        self._url = make_url(dsn)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.StreamWriter] = set()

    @property
    def dsn(self) -> str:
        """The database behind the gate, as an address."""
        url = self._url.set(host="127.0.0.1", port=self._port)
        return url.render_as_string(hide_password=False)

    async def open(self) -> None:
        """Let everybody in."""
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Cut everybody off."""
        assert self._server is not None
        self._server.close()
        for writer in self._passing:
            writer.transport.abort()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(self._url.host, self._url.port)
        self._passing |= {writer, behind[1]}
        if self._server is None or not self._server.is_serving():
            self.shut()  # It was shut while this one came in.
        await asyncio.gather(self._carry(reader, behind[1]), self._carry(behind[0], writer))
        self._passing -= {writer, behind[1]}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[WorkStore]:
    database = Database(dsn)
    try:
        await migrate(database, MIGRATIONS, version_table=VERSION_TABLE)
        yield WorkStore(database)
    finally:
        await database.close()


@asynccontextmanager
async def controlling(
    works: WorkStore, means: Means, *, claim_seconds: float = 60, poll_seconds: float = 0.05
) -> AsyncIterator[Controller]:
    """Run a controller until the block ends."""
    pace = Pace(poll_seconds=poll_seconds, claim_seconds=claim_seconds)
    controller = Controller(works, means, pace=pace, metrics=LoopMetrics())
    controller.start()
    try:
        yield controller
    finally:
        await controller.stop()


def run(folder: Path, test: Callable[[LoopLab, WorkStore], Awaitable[None]]) -> None:
    async def in_the_lab() -> None:
        dsn = f"sqlite:///{folder / 'loop.sqlite'}"
        async with loop_lab(folder) as lab, opened(dsn) as works:
            await test(lab, works)

    asyncio.run(in_the_lab())


async def create_job(works: WorkStore) -> None:
    """Want a training, the run `t`."""
    spec = jobs.Job(train=training.TrainRequest(run="t", model="mito"))
    await works.create(JOB, spec=spec.SerializeToString(), status=b"")


async def create_round(works: WorkStore, spec: rounds.RoundSpec) -> None:
    await works.create(
        ROUND, spec=spec.SerializeToString(), status=fresh_status().SerializeToString()
    )


def round_status(work: Work) -> rounds.RoundStatus:
    return rounds.RoundStatus.FromString(work.status)


def job_status(work: Work) -> jobs.JobStatus:
    return jobs.JobStatus.FromString(work.status)


def is_finished(work: Work) -> bool:
    return work.finished


async def until(works: WorkStore, key: WorkKey, done: Callable[[Work], bool]) -> Work:
    """Return the row as soon as it is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            work = await works.get(key)
            if done(work):
                return work
            await asyncio.sleep(0.02)


def asks(work: Work) -> bool:
    return round_status(work).stage == rounds.ROUND_STAGE_LABEL


async def asked_about(lab: LoopLab) -> int:
    """Return how many queries of the round stand in the queue."""
    progress = await lab.means.peers.labels.GetProgress(
        labels.GetProgressRequest(parent=PARENT, round="now")
    )
    return int(progress.queries)


async def take_over(folder: Path) -> None:
    """Claim everything, as another controller an hour later."""
    database = Database(f"sqlite:///{folder / 'loop.sqlite'}")
    later = WorkStore(database, clock=lambda: time.time() + 3600)
    assert await later.claim("other", seconds=3600)
    await database.close()


def test_a_job_that_is_cancelled_stops_its_training(tmp_path: Path) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        lab.training.released.clear()
        await create_job(works)
        async with controlling(works, lab.means, poll_seconds=60) as controller:
            await asyncio.wait_for(lab.training.begun.wait(), PATIENCE)

            await works.request_cancel(JOB)
            controller.wake()
            status = job_status(await until(works, JOB, is_finished))

        assert status.state == CANCELLED
        assert lab.training.cancelled == ["t"]

    run(tmp_path, test)


def test_what_is_cancelled_before_anybody_is_at_it_is_never_begun(tmp_path: Path) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        await create_job(works)
        await works.request_cancel(JOB)

        async with controlling(works, lab.means):
            status = job_status(await until(works, JOB, is_finished))

        assert status.state == CANCELLED
        assert lab.training.requests == []

    run(tmp_path, test)


def test_a_cancelled_round_takes_its_queries_back_and_stops_its_trainings(tmp_path: Path) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        wanted = rounds.RoundTraining(tune_image_encoder=True)
        spec = spec_of(lab.write_set("set", apart(4)), training=wanted)
        await create_round(works, spec)
        async with controlling(works, lab.means):
            await until(works, ROUND, asks)
            asked = await asked_about(lab)

            await works.request_cancel(ROUND)
            status = round_status(await until(works, ROUND, is_finished))

        assert status.state == CANCELLED
        assert (asked, await asked_about(lab)) == (4, 0)
        assert lab.training.cancelled == run_names(lab.turn(spec))
        assert len(lab.training.cancelled) == 2

    run(tmp_path, test)


def test_a_round_without_training_has_none_to_stop(tmp_path: Path) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        await create_round(works, spec_of(lab.write_set("set", apart(4))))
        await works.request_cancel(ROUND)

        async with controlling(works, lab.means):
            status = round_status(await until(works, ROUND, is_finished))

        assert status.state == CANCELLED
        assert lab.training.cancelled == []

    run(tmp_path, test)


def test_what_nobody_foresaw_is_internal_and_tells_nothing_of_itself(tmp_path: Path) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        await create_round(works, spec_of(lab.write_set("set", apart(4), record=b"secret")))

        async with controlling(works, lab.means):
            status = round_status(await until(works, ROUND, is_finished))

        assert status.state == artifacts.WORK_STATE_FAILED
        assert status.failure == artifacts.Failure(
            reason="ERROR_REASON_INTERNAL",
            message="something broke; the log of the loop service says what",
        )

    run(tmp_path, test)


def test_what_another_controller_has_taken_over_is_left_to_it(tmp_path: Path, heard: Heard) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        lab.training.released.clear()
        await create_job(works)
        async with controlling(works, lab.means, poll_seconds=60):
            await asyncio.wait_for(lab.training.begun.wait(), PATIENCE)
            await take_over(tmp_path)

            lab.training.released.set()
            await heard.wait_for(TAKEN_OVER)

        work = await works.get(JOB)
        assert not work.finished
        assert job_status(work).state == artifacts.WORK_STATE_RUNNING

    run(tmp_path, test)


def test_a_step_that_is_tried_again_ends_when_another_controller_has_taken_over(
    tmp_path: Path, heard: Heard
) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        nobody = Address("127.0.0.1:1", token="")
        deaf = Peers(Addresses(nobody, nobody, nobody, nobody, nobody))
        await create_round(works, spec_of(lab.write_set("set", apart(4))))
        means = Means(lab.store, deaf, lab.means.bulk)
        async with controlling(works, means, poll_seconds=60):
            await until(
                works, ROUND, lambda work: round_status(work).stage == rounds.ROUND_STAGE_SUGGEST
            )

            await take_over(tmp_path)
            await heard.wait_for(TAKEN_OVER)

        await deaf.close()
        assert not (await works.get(ROUND)).finished

    run(tmp_path, test)


def test_another_controller_goes_on_at_once_where_one_has_stopped(tmp_path: Path) -> None:
    async def test(lab: LoopLab, works: WorkStore) -> None:
        lab.training.released.clear()
        await create_job(works)
        async with controlling(works, lab.means, claim_seconds=600):
            await asyncio.wait_for(lab.training.begun.wait(), PATIENCE)
        lab.training.released.set()

        async with controlling(works, lab.means):
            status = job_status(await until(works, JOB, is_finished))

        assert (status.state, status.attempts) == (SUCCEEDED, 2)
        assert lab.training.cancelled == []

    run(tmp_path, test)


@pytest.mark.postgres
def test_a_round_whose_end_could_not_be_stored_is_driven_again(
    tmp_path: Path, postgres_database: str, heard: Heard
) -> None:
    async def test() -> None:
        gate = Gate(postgres_database)
        await gate.open()
        async with (
            loop_lab(tmp_path) as lab,
            opened(postgres_database) as works,
            opened(gate.dsn) as behind_gate,
            controlling(behind_gate, lab.means) as controller,
        ):
            await create_round(works, spec_of(lab.write_set("set", apart(4))))
            controller.wake()
            await until(works, ROUND, asks)

            gate.shut()
            await heard.wait_for("cannot look for work")
            await lab.answer("now", dict.fromkeys(range(4), TRUE))
            await heard.wait_for("cannot drive")
            finished_while_away = (await works.get(ROUND)).finished
            await gate.open()
            status = round_status(await until(works, ROUND, is_finished))

        gate.shut()
        assert not finished_while_away
        assert status.state == SUCCEEDED

    asyncio.run(test())


@pytest.mark.postgres
def test_a_job_goes_on_while_the_database_is_away(
    tmp_path: Path, postgres_database: str, heard: Heard
) -> None:
    async def test() -> None:
        gate = Gate(postgres_database)
        await gate.open()
        async with (
            loop_lab(tmp_path) as lab,
            opened(postgres_database) as works,
            opened(gate.dsn) as behind_gate,
        ):
            lab.training.released.clear()
            await create_job(works)
            async with controlling(behind_gate, lab.means):
                await asyncio.wait_for(lab.training.begun.wait(), PATIENCE)

                gate.shut()
                await heard.wait_for("cannot look for work")
                await gate.open()
                lab.training.released.set()
                status = job_status(await until(works, JOB, is_finished))

        gate.shut()
        assert (status.state, status.attempts) == (SUCCEEDED, 1)
        assert len(lab.training.requests) == 1

    asyncio.run(test())


@pytest.mark.postgres
def test_a_controller_stops_while_the_database_is_away(
    tmp_path: Path, postgres_database: str
) -> None:
    async def test() -> None:
        gate = Gate(postgres_database)
        await gate.open()
        async with (
            loop_lab(tmp_path) as lab,
            opened(postgres_database) as works,
            opened(gate.dsn) as behind_gate,
        ):
            lab.training.released.clear()
            await create_job(works)
            async with controlling(behind_gate, lab.means):
                await asyncio.wait_for(lab.training.begun.wait(), PATIENCE)
                gate.shut()
            work = await works.get(JOB)

        assert not work.finished
        assert lab.training.cancelled == []

    asyncio.run(test())
