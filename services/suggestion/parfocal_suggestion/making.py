"""From an order to a stored selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

import numpy as np

from parfocal_runtime.layout import selection_table
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.archive import (
    Record,
    Stored,
    cells_table,
    checked_same,
    keep,
    load,
    picks_table,
)
from parfocal_suggestion.digest import environment, pool_digests
from parfocal_suggestion.memory import Memory
from parfocal_suggestion.nesting import inner_strategies, parameters_of
from parfocal_suggestion.order import Order, read_pool
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.reasons import reasons
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.suggest import suggest


def make_selection(
    store: ObjectStore,
    order: Order,
    *,
    now: datetime,
    cancel: CancelFlag,
    memory: Memory | None = None,
) -> Stored:
    """Choose and keep the choice; the same order again returns what is kept.

    What is remembered makes it quicker and never different.

    Raises:
        InvalidInput: If the order can never work.
        NotFound: If an array or a table is not there.
        AlreadyExists: If the name was used for other inputs (`ERROR_REASON_ARTIFACT_EXISTS`).
        Cancelled: If `cancel` is set.
    """
    pool = read_pool(store, order, memory)
    inputs = pool_digests(pool)
    wish = _record(order, pool, strategy=order.strategy, inputs=inputs, now=now)
    if store.exists(selection_table(order.project, order.selection)):
        return checked_same(load(store, order.project, order.selection), wish)
    suggestion = suggest(
        pool,
        order.strategy,
        order.budget,
        seed=order.seed,
        random_share=order.random_share,
        constraints=order.constraints,
        random_weights=order.random_weights,
        checkpoint=cancel.check,
    )
    why = reasons(pool, suggestion, encoders=order.encoders, model=order.model)
    cells = cells_table(
        pool,
        suggestion,
        inline={each.name: each.inline for each in order.streams if each.inline is not None},
        probabilities=None if order.candidates else order.probabilities,
        predictions=order.predictions.inline if order.predictions else None,
        measures={each.name: each.inline for each in order.measures if each.inline is not None},
    )
    record = _record(
        order,
        pool,
        strategy=suggestion.strategy,
        inputs=inputs,
        now=now,
        notes=suggestion.notes,
    )
    return keep(store, record, picks_table(pool, suggestion, why), cells)


def _record(
    order: Order,
    pool: Pool,
    *,
    strategy: Strategy,
    inputs: Mapping[str, str],
    now: datetime,
    notes: Sequence[str] = (),
) -> Record:
    return Record(
        project=order.project,
        selection=order.selection,
        strategy=strategy.name,
        version=strategy.version,
        requested=parameters_of(order.strategy),
        parameters=parameters_of(strategy),
        budget=order.budget,
        seed=order.seed,
        random_share=order.random_share,
        pool=int(np.count_nonzero(pool.available)),
        candidates=order.candidates,
        streams=[
            {"name": each.name, "array": each.array, "encoder": each.encoder}
            for each in order.streams
        ],
        predictions=order.predictions.array if order.predictions else "",
        views=list(pool.predictions.shape[1:]) if pool.predictions is not None else [],
        measures=[
            {"name": each.name, "array": each.array, "column": each.column}
            for each in order.measures
        ],
        random_weights=asdict(order.random_weights) if order.random_weights else None,
        model=order.model,
        inputs=inputs,
        environment=environment(),
        cells="",
        create_time=now.isoformat(),
        constraints=order.constraints.to_json(),
        notes=list(notes),
        inner_versions={one.name: one.version for one in inner_strategies(strategy)},
    )
