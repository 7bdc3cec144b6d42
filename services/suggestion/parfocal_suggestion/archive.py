"""Selections as they lie in the object store: written once, read back whole.

A selection is a Parquet table of its picks whose schema metadata carries a JSON record of
everything that it takes to choose again. Beside it lies a table with the state and the cell of
every candidate, under the hash of its content: a writer that dies between the two leaves nothing
that a later one could mistake for its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from parfocal_runtime.errors import AlreadyExists, NotFound
from parfocal_runtime.layout import selection_table
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table, read_table, table_bytes
from parfocal_suggestion.pool import Floats, Pool
from parfocal_suggestion.reasons import cell_sizes
from parfocal_suggestion.strategies import STRATEGIES
from parfocal_suggestion.suggest import Suggestion

RECORD = b"parfocal.selection"
"""Key of the JSON record in the schema metadata."""


@dataclass(frozen=True)
class Record:
    """Everything that it takes to make a selection again, and what it was made from.

    Attributes:
        project: Name of the project.
        selection: Name of the selection.
        strategy: Name of the strategy.
        version: Version of the strategy.
        requested: Parameters as asked for.
        parameters: Parameters as used, none left to derive.
        budget: Picks asked for.
        seed: The seed.
        random_share: Share drawn at random.
        pool: Candidates that could be chosen.
        candidates: Folder of the candidate set, or empty.
        streams: `name`, `array` (empty where inline) and `encoder` of each stream.
        predictions: Path of the array of predictions; empty where inline or absent.
        views: (m, C) of the predictions, or empty.
        measures: `name`, `array` and `column` (both empty where inline) of each measure.
        random_weights: Measure and strength of the random share's chances; None where they are
            the same for all.
        model: Base model, or empty.
        inputs: SHA-256 of each input.
        environment: Libraries and processor.
        cells: Path of the table with the cell of every candidate.
        create_time: When, in ISO 8601 and UTC.
        constraints: What may be chosen together; empty for anything.
        notes: What could not be done as asked.
        inner_versions: Versions by name of the strategies inside of the strategy.
    """

    project: str
    selection: str
    strategy: str
    version: str
    requested: Mapping[str, Any]
    parameters: Mapping[str, Any]
    budget: int
    seed: int
    random_share: float
    pool: int
    candidates: str
    streams: list[dict[str, str]]
    model: str
    inputs: Mapping[str, str]
    environment: Mapping[str, str]
    cells: str
    create_time: str
    predictions: str = ""
    views: list[int] = field(default_factory=list)
    measures: list[dict[str, str]] = field(default_factory=list)
    constraints: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    inner_versions: Mapping[str, str] = field(default_factory=dict)
    random_weights: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, text: bytes) -> Record:
        """Read a record; keys of later releases are passed over, those of earlier ones enough."""
        document = json.loads(text)
        known = [each.name for each in fields(cls) if each.name in document]
        return cls(**{name: document[name] for name in known})

    def to_json(self) -> bytes:
        """Return the record as it is stored."""
        return json.dumps(asdict(self)).encode()

    def same_wish(self, other: Record) -> bool:
        """Whether both were asked for in the same way, of the same inputs."""
        return self._wish() == other._wish()

    def _wish(self) -> dict[str, Any]:
        parts = (
            "strategy",
            "requested",
            "budget",
            "seed",
            "random_share",
            "random_weights",
            "inputs",
            "streams",
            "predictions",
            "measures",
            "model",
            "constraints",
        )
        wish = {part: getattr(self, part) for part in parts}
        wish["requested"] = _filled(self.strategy, self.requested)
        # As JSON, which knows no tuples: one of the two may have been read.
        return {part: json.loads(json.dumps(value)) for part, value in wish.items()}


@dataclass(frozen=True)
class Stored:
    """A selection read back: its record, and its picks by rank.

    Attributes:
        record: How it was made.
        picks: Columns candidate, rank, role, score, cell, cell_size, cluster, distance, reason,
            inclusion_probability.
    """

    record: Record
    picks: pa.Table


def picks_table(pool: Pool, suggestion: Suggestion, reasons: list[str]) -> pa.Table:
    """Return the picks (B rows) as a table."""
    rows = pool.rows_of(suggestion.candidates)
    selection = suggestion.selection
    return pa.table(
        {
            "candidate": suggestion.candidates,
            "rank": np.arange(len(rows), dtype=np.int32),
            "role": [role.value for role in suggestion.roles],
            "score": suggestion.scores,
            "cell": selection.cells[rows],
            "cell_size": cell_sizes(selection.cells, rows),
            "cluster": selection.clusters[rows],
            "distance": selection.distances[rows],
            "reason": pa.array(reasons, pa.string()),
            "inclusion_probability": suggestion.chances,
        }
    )


def cells_table(
    pool: Pool,
    suggestion: Suggestion,
    *,
    inline: Mapping[str, Floats],
    probabilities: Floats | None,
    predictions: Floats | None,
    measures: Mapping[str, Floats],
) -> pa.Table:
    """Return the state and the cell of every candidate, and the inputs that lie nowhere else.

    Args:
        pool: The pool.
        suggestion: What was chosen.
        inline: (N, d) features that were sent with the request, excluded candidates included.
        probabilities: (N,) probabilities that were sent with the request, likewise.
        predictions: (N, m, C) predictions that were sent with the request, likewise.
        measures: (N,) measures that were sent with the request, likewise.

    Returns:
        Columns candidate, state (`available`, `labelled`, `excluded`), verdict (null without an
        answer), cluster, cell (-1 for none), distance; limit (why it could not be taken, null
        where nothing was found against it); `feature:<stream>`, `probability`, `prediction` and
        `measure:<name>`.
    """
    everyone = pool.candidates
    if len(pool.excluded):
        everyone = np.sort(np.concatenate([everyone, pool.excluded]))
    inside = np.ones(len(everyone), np.bool_)
    inside[np.searchsorted(everyone, pool.excluded)] = False
    selection = suggestion.selection
    columns: dict[str, Any] = {
        "candidate": everyone,
        "state": _states(pool, everyone),
        "verdict": _verdicts(pool, everyone),
        "cluster": _spread(selection.clusters, inside, np.int32(-1)),
        "cell": _spread(selection.cells, inside, np.int32(-1)),
        "distance": _spread(selection.distances, inside, np.float32(np.nan)),
    }
    if suggestion.gate.limits:
        columns["limit"] = _limits(suggestion, inside)
    for name, features in inline.items():
        columns[f"feature:{name}"] = _rows_of_floats(features)
    if probabilities is not None:
        columns["probability"] = probabilities
    if predictions is not None:
        columns["prediction"] = _rows_of_floats(predictions)
    columns |= {f"measure:{name}": measure for name, measure in measures.items()}
    return pa.table(columns)


def keep(store: ObjectStore, record: Record, picks: pa.Table, cells: pa.Table) -> Stored:
    """Write a selection, or return the one of that name if it was asked for in the same way.

    Raises:
        AlreadyExists: If the name was used for other inputs (`ERROR_REASON_ARTIFACT_EXISTS`).
    """
    content = table_bytes(cells, ascending=["candidate"])
    path = selection_table(record.project, record.selection)
    beside = f"{path.removesuffix('.parquet')}-cells-{hashlib.sha256(content).hexdigest()[:16]}"
    store.create(f"{beside}.parquet", content)
    record = replace(record, cells=f"{beside}.parquet")
    create_table(store, path, picks.replace_schema_metadata({RECORD: record.to_json()}))
    return checked_same(load(store, record.project, record.selection), record)


def checked_same(stored: Stored, wish: Record) -> Stored:
    """Return `stored` if it was asked for as `wish` is.

    Raises:
        AlreadyExists: If it was not (`ERROR_REASON_ARTIFACT_EXISTS`).
    """
    if not stored.record.same_wish(wish):
        raise AlreadyExists(
            "ERROR_REASON_ARTIFACT_EXISTS",
            f"the selection {wish.selection!r} was made from other inputs",
            name=f"projects/{wish.project}/selections/{wish.selection}",
        )
    return stored


def load(store: ObjectStore, project: str, selection: str) -> Stored:
    """Read a selection.

    Raises:
        NotFound: If there is none of that name (`ERROR_REASON_SELECTION_NOT_FOUND`).
    """
    path = selection_table(project, selection)
    table = read_table(store, path) if store.exists(path) else pa.table({})
    record = (table.schema.metadata or {}).get(RECORD)
    if record is None:
        raise NotFound(
            "ERROR_REASON_SELECTION_NOT_FOUND",
            f"there is no selection {selection!r} in project {project!r}",
            selection=f"projects/{project}/selections/{selection}",
        )
    return Stored(Record.from_json(record), table)


def _rows_of_floats(values: Floats) -> pa.Array:
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), int(np.prod(values.shape[1:])))


def _limits(suggestion: Suggestion, inside: Any) -> pa.Array:
    """Why each candidate (N,) could not be taken; null for those of which it is not known."""
    why: Any = np.full(len(inside), None, object)
    closed = np.flatnonzero(suggestion.gate.closed_by >= 0)
    why[np.flatnonzero(inside)[closed]] = [suggestion.gate.why(row) for row in closed.tolist()]
    return pa.array(why, pa.string()).dictionary_encode()


def _filled(strategy: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the parameters that came after a selection was made, at their defaults."""
    if strategy not in STRATEGIES:
        return parameters
    return {**asdict(STRATEGIES[strategy]()), **parameters}


def _spread(values: Any, inside: Any, outside: Any) -> Any:
    column = np.full(len(inside), outside)
    column[inside] = values
    return column


def _states(pool: Pool, everyone: Any) -> pa.Array:
    states = np.zeros(len(everyone), np.int8)
    states[np.searchsorted(everyone, pool.labelled)] = 1
    states[np.searchsorted(everyone, pool.excluded)] = 2
    return pa.DictionaryArray.from_arrays(states, ["available", "labelled", "excluded"])


def _verdicts(pool: Pool, everyone: Any) -> pa.Array:
    verdicts = np.zeros(len(everyone), np.bool_)
    rows = np.searchsorted(everyone, pool.labelled)
    verdicts[rows] = pool.verdicts
    missing = np.ones(len(everyone), np.bool_)
    missing[rows] = False
    return pa.array(verdicts, mask=missing)
