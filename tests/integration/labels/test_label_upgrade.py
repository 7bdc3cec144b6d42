"""A database of the first release, brought to the present schema with all that is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

import parfocal_labels
from parfocal_labels.answers import FALSE, TRUE
from parfocal_labels.migrate import migrate
from parfocal_labels.paging import PageRequest
from parfocal_labels.records import ProjectChange, QueryState
from parfocal_runtime.database import Database

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab

ALL = PageRequest(1000)
NOON = 1_767_268_800_000_000
LATER = NOON + 3_600_000_000
# One project of two votes: a decided query, one that ada answered and bob holds, an open one and
# a withdrawn one; ada took a first answer back.
FIRST_RELEASE = [
    "INSERT INTO projects (id, name, display_name, task_kind, classes, votes_needed,"
    " consensus_rule, revision, last_sequence, create_time, update_time)"
    f" VALUES (1, 'vnc', 'VNC', 'verify', '[]', 2, 'majority', 3, 5, {NOON}, {NOON})",
    *(
        "INSERT INTO queries (id, project_id, round, candidate_set, candidate, rank, priority,"
        " role, strategy, reason, model_name, model_version, image, box, patches, state, votes,"
        f" leases, create_time) VALUES ({number}, 1, 'r1', 'set', {number}, {number}, 0,"
        " 'strategy', 'two-stream', '{}', 'base', 1, 'image', '[0, 0, 0, 1, 2, 3]', 'patches',"
        f" '{state}', {votes}, {leases}, {NOON})"
        for number, state, votes, leases in (
            (1, "decided", 2, 0),
            (2, "held", 1, 1),
            (3, "open", 0, 0),
            (4, "withdrawn", 0, 0),
        )
    ),
    *(
        "INSERT INTO label_events (project_id, sequence, retracts, query_id, annotator, verdict,"
        f" class_name, seconds, client, create_time) VALUES (1, {sequence}, {retracts}, {query},"
        f" '{who}', {verdict}, NULL, 1.5, 'old/1', {NOON})"
        for sequence, retracts, query, who, verdict in (
            (1, "NULL", 1, "ada", "'false'"),
            (2, "1", 1, "ada", "NULL"),
            (3, "NULL", 1, "ada", "'true'"),
            (4, "NULL", 1, "bob", "'true'"),
            (5, "NULL", 2, "ada", "'false'"),
        )
    ),
    "INSERT INTO leases (query_id, annotator, project_id, expire_time)"
    f" VALUES (2, 'bob', 1, {LATER})",
    "INSERT INTO submissions (project_id, caller, request_id, content_sha256, outcome,"
    f" create_time) VALUES (1, 'ada', 'old', 'x', '[5]', {NOON})",
]


# Another round, which was withdrawn when one of its two queries was decided.
WITHDRAWN_ROUND = [
    *(
        "INSERT INTO queries (id, project_id, round, candidate_set, candidate, rank, priority,"
        " role, strategy, reason, image, patches, state, votes, leases, create_time) VALUES"
        f" ({number}, 1, 'r0', 'set', {number}, {number}, 0, 'strategy', '', '', '', '',"
        f" '{state}', {votes}, 0, {NOON})"
        for number, state, votes in ((5, "decided", 2), (6, "withdrawn", 0))
    ),
    *(
        "INSERT INTO label_events (project_id, sequence, query_id, annotator, verdict, seconds,"
        f" client, create_time) VALUES (1, {sequence}, 5, '{who}', 'true', 1.5, 'old/1', {NOON})"
        for sequence, who in ((6, "ada"), (7, "bob"))
    ),
    "UPDATE projects SET last_sequence = 7",
]


async def upgraded(dsn: str, further: Sequence[str]) -> None:
    """Fill a database as the first release would have, and bring it to the present."""
    database = Database(dsn)
    folder = Path(parfocal_labels.__file__).parent / "migrations"

    def to_first_release(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    async with database.write() as connection:
        await connection.run_sync(to_first_release)
        for statement in (*FIRST_RELEASE, *further):
            await connection.execute(text(statement.replace(":", "\\:")))
    await migrate(database)
    await database.close()


@pytest.fixture
def further() -> Sequence[str]:
    """What the first release held besides."""
    return ()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest, tmp_path: Path, further: Sequence[str]) -> str:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path}/old.db"
    else:
        address = request.getfixturevalue("postgres_database")
    asyncio.run(upgraded(address, further))
    return address


def test_nothing_of_the_first_release_is_lost(lab: Lab) -> None:
    page = lab.run(lab.store.list_queries("vnc", ALL))
    states = {query.id: (query.state, query.votes) for query in page.items}

    assert states == {
        1: (QueryState.DECIDED, 2),
        2: (QueryState.HELD, 1),
        3: (QueryState.OPEN, 0),
        4: (QueryState.WITHDRAWN, 0),
    }
    assert [event.sequence for event in lab.events()] == [1, 2, 3, 4, 5]
    labels = lab.run(lab.store.list_labels("vnc", ALL)).items
    assert [label.retracted for label in labels] == [True, False, False, False]
    [decided] = lab.run(lab.store.list_consensus("vnc", ALL, decided_only=True)).items
    assert (decided.query.id, decided.consensus.answer) == (1, TRUE)


def test_the_work_goes_on_where_the_first_release_stopped(lab: Lab) -> None:
    [finished] = lab.submit("bob", [2], FALSE)
    retaken = lab.lease("cyd", 5)

    assert (finished.sequence, finished.query.state) == (6, QueryState.DECIDED)
    assert retaken == [3]
    lab.run(lab.store.retract_label("vnc", 5, caller="ada"))
    assert lab.lease("cyd", 5) == [2]


@pytest.mark.parametrize("further", [WITHDRAWN_ROUND])
def test_a_round_that_the_first_release_withdrew_stays_so(lab: Lab) -> None:
    lab.run(lab.store.retract_label("vnc", 7, caller="bob"))

    [first, second] = lab.run(lab.store.list_queries("vnc", ALL, round_="r0")).items
    assert first.state is second.state is QueryState.WITHDRAWN
    assert lab.lease("cyd", 5, round_="r0") == []


def test_a_round_that_the_first_release_went_on_with_goes_on(lab: Lab) -> None:
    lab.run(lab.store.update_project("vnc", ProjectChange(votes_needed=3)))

    assert lab.lease("cyd", 5, round_="r1") == [1, 2, 3]
    assert lab.states()[4] is QueryState.WITHDRAWN
