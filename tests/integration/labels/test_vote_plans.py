"""The votes on a few queries are found by these queries, however many labels there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from explaining import Explaining
from parfocal_labels.statements import Statements
from parfocal_labels.votes import IS_ADJUDICATION, LABELS, history_of, standing_on
from parfocal_runtime.database import Database
from parfocal_runtime.transactions import Session

if TYPE_CHECKING:
    from tests.integration.labels.conftest import Lab


@pytest.fixture
def labelled(lab: Lab) -> Lab:
    lab.create().add(4000)
    for _ in range(4):
        lab.vote("ada", 1000)
    return lab


async def explained(database: Database) -> list[str]:
    async def work(session: Session) -> list[str]:
        explaining = Explaining(session)
        if session.is_postgresql:
            await session.run("ANALYZE")
        await Statements(explaining).votes([1, 2, 3])
        return explaining.plans

    plans = await database.transactions.run(work)
    word = "EXPLAIN" if database.is_postgresql else "EXPLAIN QUERY PLAN"
    async with database.read() as connection:
        for statement in (
            standing_on([1, 2, 3], IS_ADJUDICATION),
            standing_on([1, 2, 3], LABELS.c.purpose == "vote"),
            history_of([1, 2, 3]),
        ):
            compiled = statement.compile(
                dialect=connection.dialect, compile_kwargs={"literal_binds": True}
            )
            rows = await connection.execute(text(f"{word} {compiled}"))
            plans.append("\n".join(str(tuple(row)[-1]) for row in rows))
    return plans


def test_votes_are_found_by_their_queries(labelled: Lab) -> None:
    plans = labelled.run(explained(labelled.database))

    assert len(plans) == 4
    for plan in plans:
        assert "ix_label_events_votes" in plan
