"""Queries: how they enter the queue, are counted, listed and withdrawn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice

from sqlalchemy import and_, case, delete, exists, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.answers import checked_answer
from parfocal_labels.paging import Page, PageRequest, page_of
from parfocal_labels.records import Project, Query, QuerySpec, QueryState, Role
from parfocal_labels.rows import query_from_row, spec_to_row
from parfocal_labels.schema import (
    STANDING,
    WITH_STANDING,
    leases,
    queries,
    standings,
    withdrawn_rounds,
)
from parfocal_runtime.database import insert_new
from parfocal_runtime.errors import WrongState

_CHUNK = 1000
_IN_WITHDRAWN_ROUND = exists().where(
    withdrawn_rounds.c.project_id == standings.c.project_id,
    withdrawn_rounds.c.round == standings.c.round,
)
# The state alone says so in rounds that an earlier release withdrew and then went on with.
IS_WITHDRAWN = or_(standings.c.state == QueryState.WITHDRAWN.value, _IN_WITHDRAWN_ROUND)
"""The condition that nobody is to be asked the query of a row of `standings` again."""

_Identity = tuple[str, str, int]


async def add_queries(
    connection: AsyncConnection, project: Project, specs: Sequence[QuerySpec], *, now: datetime
) -> int:
    """Add the queries of `specs` that `project`, held `NUMBERS`, lacks; return how many.

    A candidate of a set is asked once in a round; the first of several specs counts. In a round
    that was withdrawn they are withdrawn from the start.

    Raises:
        InvalidInput: If the answer of a gold query is not what the project asks for.
    """
    _require_fitting(project, specs)
    new = {_identity(spec): spec for spec in reversed(specs)}
    for identity in await _present(connection, project, new):
        del new[identity]
    specs = list(reversed(new.values()))
    if not specs:
        return 0
    common = {"project_id": project.id, "create_time": now}
    result = await connection.execute(
        insert(queries).returning(queries.c.id, sort_by_parameter_order=True),
        [{**spec_to_row(spec), **common} for spec in specs],
    )
    numbered = zip(result.scalars(), specs, strict=True)
    withdrawn = await _withdrawn_rounds(connection, project, {spec.round for spec in specs})
    await connection.execute(
        insert(standings),
        [{**common, **_first_standing(*each, withdrawn=withdrawn)} for each in numbered],
    )
    return len(specs)


def _require_fitting(project: Project, specs: Sequence[QuerySpec]) -> None:
    rules = project.rules
    for number, spec in enumerate(specs):
        if spec.gold is not None:
            checked_answer(
                spec.gold,
                task_kind=rules.task_kind,
                classes=rules.classes,
                field=f"queries[{number}].gold_verdict",
                class_field=f"queries[{number}].gold_class_name",
            )


async def _withdrawn_rounds(
    connection: AsyncConnection, project: Project, rounds: Collection[str]
) -> set[str]:
    statement = select(withdrawn_rounds.c.round).where(
        withdrawn_rounds.c.project_id == project.id, withdrawn_rounds.c.round.in_(rounds)
    )
    return set((await connection.execute(statement)).scalars())


def _first_standing(
    query: int, spec: QuerySpec, *, withdrawn: Collection[str]
) -> dict[str, object]:
    state = QueryState.GOLD if spec.role is Role.GOLD else QueryState.OPEN
    if spec.round in withdrawn:
        state = QueryState.WITHDRAWN
    place = {name: getattr(spec, name) for name in ("round", "skill", "priority", "rank")}
    return {"query_id": query, **place, "state": state.value, "votes": 0, "leases": 0, "skips": 0}


def _identity(spec: QuerySpec) -> _Identity:
    return (spec.round, spec.candidate_set, spec.candidate)


async def _present(
    connection: AsyncConnection, project: Project, identities: Collection[_Identity]
) -> list[_Identity]:
    present: list[_Identity] = []
    for (round_, candidate_set), group in groupby(sorted(identities), key=lambda each: each[:2]):
        for candidates in _chunks(candidate for *_, candidate in group):
            rows = await connection.execute(
                select(queries.c.candidate).where(
                    queries.c.project_id == project.id,
                    queries.c.round == round_,
                    queries.c.candidate_set == candidate_set,
                    queries.c.candidate.in_(candidates),
                )
            )
            present += [(round_, candidate_set, candidate) for candidate in rows.scalars()]
    return present


def _chunks(numbers: Iterator[int]) -> Iterator[list[int]]:
    while chunk := list(islice(numbers, _CHUNK)):
        yield chunk


async def open_places(
    connection: AsyncConnection, project: Project, ids: Collection[int], *, count: int
) -> None:
    """Take `count` leases each off the counts of locked queries, which then wait again."""
    leases = standings.c.leases - count
    is_held = standings.c.votes + leases >= project.rules.votes_needed
    waits = standings.c.state.in_([QueryState.OPEN.value, QueryState.HELD.value])
    state = case(
        (~waits, standings.c.state),
        (is_held, QueryState.HELD.value),
        else_=QueryState.OPEN.value,
    )
    await connection.execute(
        update(standings).where(standings.c.query_id.in_(ids)).values(leases=leases, state=state)
    )


async def lock_queries(
    connection: AsyncConnection, project: Project, ids: Collection[int]
) -> dict[int, Query]:
    """Return the queries of `project` among `ids`, locked until the transaction ends.

    Locks are taken by id, so that two callers never wait for each other.
    """
    statement = (
        select(queries, *STANDING)
        .select_from(WITH_STANDING)
        .where(queries.c.project_id == project.id, queries.c.id.in_(ids))
        .order_by(queries.c.id)
        .with_for_update(of=standings)
    )
    rows = await connection.execute(statement)
    return {row.id: query_from_row(row) for row in rows}


def require_votable(project: Project, query: Query) -> None:
    """Return if labels can count for `query`.

    Raises:
        WrongState: If it is a gold query (`ERROR_REASON_QUERY_ROLE_UNFIT`) or withdrawn
            (`ERROR_REASON_QUERY_WITHDRAWN`).
    """
    name = f"projects/{project.name}/queries/{query.id}"
    if query.spec.role is Role.GOLD:
        raise WrongState(
            "ERROR_REASON_QUERY_ROLE_UNFIT",
            f"{name} is a gold query, whose answer is known",
            query=name,
            role="gold",
        )
    if query.state is QueryState.WITHDRAWN:
        raise WrongState("ERROR_REASON_QUERY_WITHDRAWN", f"{name} was withdrawn", query=name)


async def withdraw_round(connection: AsyncConnection, project: Project, round_: str) -> int:
    """Withdraw a round of `project`, held `ALL`; return how many queries that were undecided."""
    await connection.execute(
        insert_new(connection, withdrawn_rounds).values(project_id=project.id, round=round_)
    )
    of_round = and_(standings.c.project_id == project.id, standings.c.round == round_)
    # Those of decided ones too: a vote that is taken back must not leave a query with people at it.
    await connection.execute(
        delete(leases).where(leases.c.query_id.in_(select(standings.c.query_id).where(of_round)))
    )
    await connection.execute(
        update(standings).where(of_round, standings.c.leases > 0).values(leases=0)
    )
    undecided = standings.c.state.not_in([QueryState.DECIDED.value, QueryState.WITHDRAWN.value])
    result = await connection.execute(
        update(standings).where(of_round, undecided).values(state=QueryState.WITHDRAWN.value)
    )
    return result.rowcount


async def list_queries(
    connection: AsyncConnection,
    project: Project,
    page: PageRequest,
    *,
    round_: str = "",
    states: Collection[QueryState] = (),
    gold: bool = True,
) -> Page[Query]:
    """Return queries by round and rank.

    Args:
        connection: Open transaction.
        project: The project.
        page: Which part of the list.
        round_: Only this round's; empty for all.
        states: Only queries in one of these; empty for all.
        gold: Whether gold queries are among them.
    """
    statement = (
        select(queries, *STANDING)
        .select_from(WITH_STANDING)
        .where(queries.c.project_id == project.id)
    )
    if round_:
        statement = statement.where(queries.c.round == round_)
    if states:
        statement = statement.where(standings.c.state.in_([state.value for state in states]))
    if not gold:
        statement = statement.where(queries.c.role != Role.GOLD.value)
    if page.after:
        key = tuple_(queries.c.round, queries.c.rank, queries.c.id)
        statement = statement.where(key > tuple_(*page.after))
    statement = statement.order_by(queries.c.round, queries.c.rank, queries.c.id)
    rows = await connection.execute(statement.limit(page.size + 1))
    return page_of([query_from_row(row) for row in rows], page, key=_key)


async def all_queries(
    connection: AsyncConnection,
    project: Project,
    *,
    round_: str = "",
    states: Collection[QueryState] = (),
) -> AsyncIterator[tuple[Query, ...]]:
    """Yield all queries by round and rank, a thousand at a time."""
    request: PageRequest | None = PageRequest(_CHUNK)
    while request:
        page = await list_queries(connection, project, request, round_=round_, states=states)
        yield page.items
        request = PageRequest(_CHUNK, page.next_key) if page.next_key else None


def _key(query: Query) -> tuple[str, int, int]:
    return (query.spec.round, query.spec.rank, query.id)
