"""What labels add up to: consensus, agreement, progress."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parfocal_labels.agreement import Agreement, agreement
from parfocal_labels.answers import Answer
from parfocal_labels.consensus import ConsensusRule, consensus
from parfocal_labels.counting import AnswerCounts, count_answers
from parfocal_labels.paging import Page, PageRequest
from parfocal_labels.queries import all_queries, list_queries
from parfocal_labels.records import Progress, Project, Query, QueryConsensus, QueryState
from parfocal_labels.schema import WITH_STANDING, leases, queries, standings
from parfocal_labels.votes import (
    COUNTED,
    LABELS,
    adjudications_on,
    ballot_table,
    stands,
    votes_on,
)
from parfocal_labels.weighing import Posterior, RecentPosteriors
from parfocal_runtime.tasks import in_thread

_DECIDED = (QueryState.DECIDED,)


async def list_consensus(
    connection: AsyncConnection,
    project: Project,
    page: PageRequest,
    *,
    posteriors: RecentPosteriors,
    round_: str = "",
    decided_only: bool = False,
) -> Page[QueryConsensus]:
    """Return the consensus of queries by round and rank; gold queries have none."""
    states = _DECIDED if decided_only else ()
    listed = await list_queries(connection, project, page, round_=round_, states=states, gold=False)
    posterior = await _posterior(connection, project, posteriors, round_=round_)
    items = await _consensus_of(connection, project, listed.items, posterior)
    return Page(tuple(items), listed.next_key)


async def decided_consensus(
    connection: AsyncConnection,
    project: Project,
    *,
    posteriors: RecentPosteriors,
    round_: str = "",
) -> AsyncIterator[QueryConsensus]:
    """Yield the consensus of every decided query by round and rank."""
    posterior = await _posterior(connection, project, posteriors, round_=round_)
    chunks = all_queries(connection, project, round_=round_, states=_DECIDED)
    async for chunk in chunks:
        for item in await _consensus_of(connection, project, chunk, posterior):
            yield item


async def decided_answers(
    connection: AsyncConnection,
    project: Project,
    *,
    posteriors: RecentPosteriors,
    round_: str = "",
) -> AnswerCounts:
    """Return how many of the decided queries are decided as what."""
    if project.rules.consensus_rule is not ConsensusRule.DAWID_SKENE:
        return await count_answers(connection, project, round_=round_)
    decided = decided_consensus(connection, project, posteriors=posteriors, round_=round_)
    return Counter(
        [(each.query.spec.role, each.consensus.answer or Answer()) async for each in decided]
    )


async def _posterior(
    connection: AsyncConnection, project: Project, posteriors: RecentPosteriors, *, round_: str
) -> Posterior | None:
    if project.rules.consensus_rule is not ConsensusRule.DAWID_SKENE:
        return None
    # All votes that stand follow from the events so far, and the transaction sees no others.
    key = (project.id, project.last_sequence, round_)
    return await posteriors.find(key, lambda: ballot_table(connection, project, round_=round_))


async def _consensus_of(
    connection: AsyncConnection,
    project: Project,
    asked: Collection[Query],
    posterior: Posterior | None,
) -> list[QueryConsensus]:
    ids = [query.id for query in asked]
    votes = await votes_on(connection, ids)
    adjudications = await adjudications_on(connection, ids)
    items = []
    for query in asked:
        ballots = votes[query.id]
        outcome = consensus(ballots, project.rules, adjudication=adjudications.get(query.id))
        if posterior is not None:
            outcome = posterior.weigh(query.id, ballots, outcome, project.rules.tie_rule)
        items.append(QueryConsensus(query, outcome))
    return items


async def project_agreement(
    connection: AsyncConnection, project: Project, *, round_: str = ""
) -> Agreement:
    """Return how far annotators agree on the queries that have several votes."""
    votes = await ballot_table(connection, project, round_=round_)
    return await in_thread(agreement, votes)


async def project_progress(
    connection: AsyncConnection, project: Project, *, now: datetime, round_: str = ""
) -> Progress:
    """Return the counts of a project or one of its rounds."""
    of_round = queries.c.project_id == project.id
    if round_:
        of_round &= queries.c.round == round_
    states = await connection.execute(
        select(standings.c.state, func.count())
        .select_from(WITH_STANDING)
        .where(of_round)
        .group_by(standings.c.state)
    )
    counts = {QueryState(state): count for state, count in states}
    apart = counts.get(QueryState.WITHDRAWN, 0) + counts.get(QueryState.GOLD, 0)
    return Progress(
        queries=sum(counts.values()) - apart,
        decided=counts.get(QueryState.DECIDED, 0),
        disputed=counts.get(QueryState.DISPUTED, 0),
        leased=await _count(
            connection,
            select(func.count())
            .select_from(leases)
            .join(queries, queries.c.id == leases.c.query_id)
            .where(of_round, leases.c.expire_time > now),
        ),
        labels=await _count(connection, _votes(of_round, func.count())),
        last_sequence=project.last_sequence,
        median_seconds=await _median_seconds(connection, of_round),
    )


def _votes(of_round: ColumnElement[bool], wanted: ColumnElement[Any]) -> Select[Any]:
    return (
        select(wanted)
        .select_from(LABELS)
        .join(queries, queries.c.id == LABELS.c.query_id)
        .where(of_round, LABELS.c.purpose.in_(COUNTED), stands(LABELS))
    )


async def _count(connection: AsyncConnection, statement: Select[Any]) -> int:
    return int((await connection.execute(statement)).scalar_one())


async def _median_seconds(connection: AsyncConnection, of_round: ColumnElement[bool]) -> float:
    measured = LABELS.c.seconds > 0
    count = await _count(connection, _votes(of_round, func.count()).where(measured))
    if count == 0:
        return math.nan
    middle = (
        _votes(of_round, LABELS.c.seconds)
        .where(measured)
        .order_by(LABELS.c.seconds)
        .offset((count - 1) // 2)
        .limit(2 - count % 2)
    )
    seconds = list((await connection.execute(middle)).scalars())
    return float(sum(seconds) / len(seconds))
