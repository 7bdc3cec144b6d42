"""What becomes of queries when the facts about them change other than by a vote, or the rules."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, bindparam, case, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.consensus import Consensus, consensus, needs_content
from parfocal_labels.queries import IS_WITHDRAWN
from parfocal_labels.records import Project, Purpose, QueryState, Rules
from parfocal_labels.schema import leases, standings
from parfocal_labels.votes import IS_ADJUDICATION, LABELS, adjudications_on, stands, votes_on

_CHUNK = 1000
_ON_WHICH_RULES = ("votes_needed", "consensus_rule", "votes_to_agree", "tie_rule")


def settles_differently(before: Rules, after: Rules) -> bool:
    """Return whether queries may have another state under the new rules."""
    return any(getattr(before, name) != getattr(after, name) for name in _ON_WHICH_RULES)


async def settle_project(connection: AsyncConnection, project: Project) -> None:
    """Settle every query of `project`, held `ALL`, after its rules changed."""
    needed = project.rules.votes_needed
    by_number = case(
        (standings.c.votes >= needed, QueryState.DECIDED.value),
        (IS_WITHDRAWN, QueryState.WITHDRAWN.value),
        (standings.c.votes + standings.c.leases >= needed, QueryState.HELD.value),
        else_=QueryState.OPEN.value,
    )
    await connection.execute(
        update(standings)
        .where(standings.c.project_id == project.id, standings.c.state != QueryState.GOLD.value)
        .values(state=by_number)
    )
    has_content = _is_adjudicated()
    if needs_content(project.rules):
        has_content = or_(standings.c.votes > 0, has_content)
    statement = (
        select(standings.c.query_id)
        .where(standings.c.project_id == project.id, has_content)
        .order_by(standings.c.query_id)
        .limit(_CHUNK)
    )
    after = 0
    while (
        ids := (await connection.execute(statement.where(standings.c.query_id > after)))
        .scalars()
        .all()
    ):
        await settle_queries(connection, project, ids)
        after = ids[-1]


def _is_adjudicated() -> ColumnElement[bool]:
    return exists().where(
        LABELS.c.query_id == standings.c.query_id, IS_ADJUDICATION, stands(LABELS)
    )


async def settle_queries(
    connection: AsyncConnection, project: Project, ids: Collection[int]
) -> None:
    """Work out anew, from the labels that stand, the votes and states of locked queries.

    A query that is decided by it, or disputed, is held by nobody any more. In a round that was
    withdrawn a query that is not decided is withdrawn.
    """
    votes = await votes_on(connection, ids)
    adjudications = await adjudications_on(connection, ids)
    rows = await connection.execute(
        select(
            standings.c.query_id,
            standings.c.votes,
            standings.c.leases,
            standings.c.state,
            IS_WITHDRAWN.label("withdrawn"),
        ).where(standings.c.query_id.in_(ids))
    )
    changes = []
    for row in rows.all():
        ballots = votes[row.query_id]
        outcome = consensus(ballots, project.rules, adjudication=adjudications.get(row.query_id))
        state = row.state
        if row.withdrawn and not outcome.decided:
            state = QueryState.WITHDRAWN.value
        elif state != QueryState.GOLD.value:
            state = _state(outcome, leases=row.leases, rules=project.rules).value
        if (len(ballots), state) != (row.votes, row.state):
            changes.append({"query": row.query_id, "votes_now": len(ballots), "state_now": state})
    if changes:
        await connection.execute(_SETTLE, changes)
        over = [each["query"] for each in changes if each["state_now"] in _OVER]
        await _end_places(connection, over)


def _state(outcome: Consensus, *, leases: int, rules: Rules) -> QueryState:
    if outcome.decided or outcome.disputed:
        return QueryState.DECIDED if outcome.decided else QueryState.DISPUTED
    held = outcome.votes + leases >= rules.votes_needed
    return QueryState.HELD if held else QueryState.OPEN


async def _end_places(connection: AsyncConnection, ids: Collection[int]) -> None:
    """End the leases that promised a vote on queries which need none."""
    await connection.execute(
        delete(leases).where(leases.c.query_id.in_(ids), leases.c.purpose == Purpose.VOTE.value)
    )
    await connection.execute(
        update(standings).where(standings.c.query_id.in_(ids)).values(leases=0)
    )


_OVER = (QueryState.DECIDED.value, QueryState.DISPUTED.value)
_SETTLE = (
    update(standings)
    .where(standings.c.query_id == bindparam("query"))
    .values(votes=bindparam("votes_now"), state=bindparam("state_now"))
)
