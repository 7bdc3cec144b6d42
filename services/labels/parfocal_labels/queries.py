"""Queries: how they enter the queue, are counted, listed and withdrawn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice

from sqlalchemy import ColumnElement, Select, and_, case, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.paging import Page, PageRequest, page_of
from parfocal_labels.records import Project, Query, QuerySpec, QueryState, Role
from parfocal_labels.rows import query_from_row, spec_to_row
from parfocal_labels.schema import leases, queries

_CHUNK = 1000
_FIXED_STATES = (QueryState.WITHDRAWN.value, QueryState.GOLD.value)

_Identity = tuple[str, str, int]


async def add_queries(
    connection: AsyncConnection, project: Project, specs: Sequence[QuerySpec], *, now: datetime
) -> int:
    """Add the queries of `specs` that `project`, held `NUMBERS`, lacks; return how many.

    A candidate of a set is asked once in a round; the first of several specs counts.
    """
    new = {_identity(spec): spec for spec in reversed(specs)}
    for identity in await _present(connection, project, new):
        del new[identity]
    state = {"project_id": project.id, "votes": 0, "leases": 0, "create_time": now}
    rows = [
        {**spec_to_row(spec), **state, "state": _first_state(spec).value}
        for spec in reversed(new.values())
    ]
    if rows:
        await connection.execute(insert(queries), rows)
    return len(rows)


def _first_state(spec: QuerySpec) -> QueryState:
    return QueryState.GOLD if spec.role is Role.GOLD else QueryState.OPEN


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


def next_state(
    project: Project, *, votes: ColumnElement[int], leases: ColumnElement[int]
) -> ColumnElement[str]:
    """Return the state of a query that has so many votes and leases."""
    needed = project.rules.votes_needed
    return case(
        (queries.c.state.in_(_FIXED_STATES), queries.c.state),
        (votes >= needed, QueryState.DECIDED.value),
        (votes + leases >= needed, QueryState.HELD.value),
        else_=QueryState.OPEN.value,
    )


async def count_changes(
    connection: AsyncConnection,
    project: Project,
    ids: Collection[int],
    *,
    votes: int = 0,
    leases: int = 0,
) -> list[Query]:
    """Add `votes` and `leases` to the counts of locked queries and return them as they are now."""
    new_votes, new_leases = queries.c.votes + votes, queries.c.leases + leases
    statement = (
        update(queries)
        .where(queries.c.id.in_(ids))
        .values(
            votes=new_votes,
            leases=new_leases,
            state=next_state(project, votes=new_votes, leases=new_leases),
        )
        .returning(*queries.c)
    )
    return [query_from_row(row) for row in await connection.execute(statement)]


async def recount_project(connection: AsyncConnection, project: Project) -> None:
    """Settle the state of every query of `project`, held `ALL`, after its rules changed."""
    await connection.execute(
        update(queries)
        .where(queries.c.project_id == project.id)
        .values(state=next_state(project, votes=queries.c.votes, leases=queries.c.leases))
    )


async def lock_queries(
    connection: AsyncConnection, project: Project, ids: Collection[int]
) -> dict[int, Query]:
    """Return the queries of `project` among `ids`, locked until the transaction ends.

    Locks are taken by id, so that two callers never wait for each other.
    """
    statement = (
        select(queries)
        .where(queries.c.project_id == project.id, queries.c.id.in_(ids))
        .order_by(queries.c.id)
        .with_for_update()
    )
    rows = await connection.execute(statement)
    return {row.id: query_from_row(row) for row in rows}


async def withdraw_round(connection: AsyncConnection, project: Project, round_: str) -> int:
    """Withdraw the undecided queries of a round of `project`, held `ALL`; return how many."""
    undecided = and_(
        queries.c.project_id == project.id,
        queries.c.round == round_,
        queries.c.state.not_in([QueryState.DECIDED.value, QueryState.WITHDRAWN.value]),
    )
    await connection.execute(
        delete(leases).where(leases.c.query_id.in_(select(queries.c.id).where(undecided)))
    )
    result = await connection.execute(
        update(queries).where(undecided).values(state=QueryState.WITHDRAWN.value, leases=0)
    )
    return result.rowcount


async def list_queries(
    connection: AsyncConnection,
    project: Project,
    page: PageRequest,
    *,
    round_: str = "",
    decided_only: bool = False,
) -> Page[Query]:
    """Return queries by round and rank."""
    statement = _listing(project, round_, decided_only=decided_only)
    if page.after:
        key = tuple_(queries.c.round, queries.c.rank, queries.c.id)
        statement = statement.where(key > tuple_(*page.after))
    rows = await connection.execute(statement.limit(page.size + 1))
    return page_of([query_from_row(row) for row in rows], page, key=_key)


async def all_queries(
    connection: AsyncConnection, project: Project, *, round_: str = "", decided_only: bool = False
) -> AsyncIterator[tuple[Query, ...]]:
    """Yield all queries by round and rank, a thousand at a time."""
    request: PageRequest | None = PageRequest(_CHUNK)
    while request:
        page = await list_queries(
            connection, project, request, round_=round_, decided_only=decided_only
        )
        yield page.items
        request = PageRequest(_CHUNK, page.next_key) if page.next_key else None


def _listing(project: Project, round_: str, *, decided_only: bool) -> Select[tuple[object, ...]]:
    statement = select(queries).where(queries.c.project_id == project.id)
    if round_:
        statement = statement.where(queries.c.round == round_)
    if decided_only:
        statement = statement.where(queries.c.state == QueryState.DECIDED.value)
    return statement.order_by(queries.c.round, queries.c.rank, queries.c.id)


def _key(query: Query) -> tuple[str, int, int]:
    return (query.spec.round, query.spec.rank, query.id)
