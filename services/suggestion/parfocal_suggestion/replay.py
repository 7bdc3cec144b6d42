"""The same choice again from what was stored, and what changed if it comes out differently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from parfocal_runtime.errors import DomainError, InvalidInput, NotFound
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.archive import Record, load
from parfocal_suggestion.constraints import Constraints
from parfocal_suggestion.digest import environment, pool_digests
from parfocal_suggestion.memory import Memory
from parfocal_suggestion.nesting import inner_strategies
from parfocal_suggestion.order import Measure, Order, Predictions, Stream, read_pool
from parfocal_suggestion.pool import Floats, Ids
from parfocal_suggestion.random_share import RandomWeights
from parfocal_suggestion.strategies import strategy_of
from parfocal_suggestion.suggest import Suggestion, suggest


@dataclass(frozen=True)
class Replay:
    """What came out of choosing again.

    Attributes:
        identical: Whether ids, order, roles and scores are the same, bit for bit.
        differences: What changed, one sentence each; empty where identical.
        candidates: (B,) int64 as chosen now, by rank; empty if choosing is not possible now.
    """

    identical: bool
    differences: list[str]
    candidates: Ids


def replay(
    store: ObjectStore,
    project: str,
    selection: str,
    *,
    cancel: CancelFlag,
    memory: Memory | None = None,
) -> Replay:
    """Choose again from the stored parameters and today's inputs, and compare.

    Raises:
        NotFound: If there is no such selection (`ERROR_REASON_SELECTION_NOT_FOUND`).
        Cancelled: If `cancel` is set.
    """
    stored = load(store, project, selection)
    record, nothing = stored.record, np.empty(0, np.int64)
    try:
        order = stored_order(store, record)
        pool = read_pool(store, order, memory)
        now = suggest(
            pool,
            order.strategy,
            order.budget,
            seed=order.seed,
            random_share=order.random_share,
            constraints=order.constraints,
            random_weights=order.random_weights,
            checkpoint=cancel.check,
        )
    except (InvalidInput, NotFound) as error:
        return Replay(False, [_impossible(error)], nothing)
    picks = _picks_changed(stored.picks, now)
    if not picks:
        return Replay(True, [], now.candidates)
    causes = [
        *_version_changed(record, now),
        *_changed("input", record.inputs, pool_digests(pool)),
        *_changed("environment", record.environment, environment()),
    ]
    return Replay(False, [*picks, *causes], now.candidates)


def stored_order(store: ObjectStore, record: Record) -> Order:
    """Return the order that a record stands for, with parameters as they were used.

    Raises:
        NotFound: If the table beside the selection is gone.
        InvalidInput: If the strategy or one of its parameters does not exist any more.
    """
    cells = read_table(store, record.cells)
    ids = cells.column("candidate").to_numpy()
    states = np.asarray(cells.column("state").to_pylist())
    labelled = states == "labelled"
    verdicts = np.asarray(cells.column("verdict").fill_null(False).to_pylist(), np.bool_)
    return Order(
        project=record.project,
        selection=record.selection,
        strategy=strategy_of(record.strategy, record.parameters),
        budget=record.budget,
        seed=record.seed,
        random_share=record.random_share,
        random_weights=RandomWeights(**record.random_weights) if record.random_weights else None,
        candidates=record.candidates,
        streams=tuple(_stream(stream, cells) for stream in record.streams),
        probabilities=_column(cells, "probability"),
        predictions=_predictions(record, cells),
        measures=tuple(_measure(measure, cells) for measure in record.measures),
        labelled=ids[labelled],
        verdicts=verdicts[labelled],
        excluded=ids[states == "excluded"],
        model=record.model,
        constraints=Constraints.from_json(record.constraints),
    )


def _stream(stream: Mapping[str, str], cells: pa.Table) -> Stream:
    inline = None if stream["array"] else _column(cells, f"feature:{stream['name']}")
    return Stream(stream["name"], stream["array"], inline, stream["encoder"])


def _predictions(record: Record, cells: pa.Table) -> Predictions | None:
    if not record.views:
        return None
    if record.predictions:
        return Predictions(record.predictions)
    flat = _column(cells, "prediction")
    return Predictions(inline=flat if flat is None else flat.reshape(-1, *record.views))


def _measure(measure: Mapping[str, str], cells: pa.Table) -> Measure:
    inline = _column(cells, f"measure:{measure['name']}")
    return Measure(measure["name"], measure["array"], measure["column"], inline)


def _column(cells: pa.Table, name: str) -> Floats | None:
    if name not in cells.column_names:
        return None
    column = cells.column(name).combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column, np.float32)
    return np.asarray(column.flatten(), np.float32).reshape(-1, column.type.list_size)


def _picks_changed(then: pa.Table, now: Suggestion) -> Iterable[str]:
    before = then.column("candidate").to_numpy()
    if not np.array_equal(before, now.candidates):
        kept = len(np.intersect1d(before, now.candidates))
        return [f"{kept} of {len(before)} picks are chosen again, or their order changed"]
    if then.column("role").to_pylist() != [role.value for role in now.roles]:
        return ["the same candidates are chosen in other roles"]
    scores = then.column("score").to_numpy()
    if scores.tobytes() != now.scores.tobytes():
        return ["the same candidates are chosen with other scores"]
    return []


def _version_changed(record: Record, now: Suggestion) -> Iterable[str]:
    if record.version != now.strategy.version:
        yield f"strategy {record.strategy} was version {record.version}, now {now.strategy.version}"
    for inner in {one.name: one for one in inner_strategies(now.strategy)}.values():
        before = record.inner_versions.get(inner.name, "absent")
        if before != inner.version:
            yield f"strategy {inner.name} inside of it was version {before}, now {inner.version}"


def _changed(kind: str, then: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    for name in sorted({*then, *now}):
        before, after = then.get(name, "absent"), now.get(name, "absent")
        if before != after:
            yield f"{kind} {name} was {before[:64]}, now {after[:64]}"


def _impossible(error: DomainError) -> str:
    return f"the choice cannot be made now: {error.message}"
