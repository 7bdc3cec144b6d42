"""What a caller asks for, as it comes out of a request, and the pool that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parfocal_runtime.arrays import finish_read, open_array
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_suggestion.constraints import UNCONSTRAINED, Constraints
from parfocal_suggestion.memory import Memory
from parfocal_suggestion.pool import Floats, Ids, Mask, Pool, named
from parfocal_suggestion.random_share import RandomWeights
from parfocal_suggestion.selection import Strategy
from parfocal_suggestion.surroundings import Surroundings, read_surroundings


@dataclass(frozen=True)
class Stream:
    """A feature stream: an array of the store, or the numbers themselves.

    Attributes:
        name: Name by which strategies ask for it.
        array: Path of an array (N, d), or empty.
        inline: (N, d) float32, or None.
        encoder: `<name>-<version>` of the encoder, or empty.
    """

    name: str
    array: str = ""
    inline: Floats | None = None
    encoder: str = ""


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of several views of each candidate.

    Attributes:
        array: Path of an array (N, m, C), or empty.
        inline: (N, m, C) float32, or None.
    """

    array: str = ""
    inline: Floats | None = None


@dataclass(frozen=True)
class Measure:
    """One number per candidate: an array, a column of the candidate table, or the numbers.

    Attributes:
        name: Name by which strategies ask for it.
        array: Path of an array (N,), or empty.
        column: Column of the candidate table, or empty.
        inline: (N,) float32, or None.
    """

    name: str
    array: str = ""
    column: str = ""
    inline: Floats | None = None


@dataclass(frozen=True)
class Order:
    """A wish for a selection.

    Attributes:
        project: Name of the project.
        selection: Name under which the selection is kept.
        strategy: How to choose.
        budget: Picks wanted.
        seed: The seed.
        random_share: Share drawn at random, 0 to 1.
        random_weights: Which candidates have a better chance there, or None.
        candidates: Folder of the candidate set, or empty.
        streams: The feature streams.
        probabilities: (N,) mean probabilities where there is no candidate set.
        predictions: Class probabilities of several views, or None.
        measures: Numbers by name.
        labelled: (L,) ids with an answer.
        verdicts: (L,) the answers.
        excluded: (E,) ids that must not be chosen.
        model: `<name>-<version>` of the base model, or empty.
        constraints: What may be chosen together.
    """

    project: str
    selection: str
    strategy: Strategy
    budget: int
    seed: int
    random_share: float = 0.0
    random_weights: RandomWeights | None = None
    candidates: str = ""
    streams: tuple[Stream, ...] = ()
    probabilities: Floats | None = None
    predictions: Predictions | None = None
    measures: tuple[Measure, ...] = ()
    labelled: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    verdicts: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    excluded: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    model: str = ""
    constraints: Constraints = UNCONSTRAINED

    @property
    def encoders(self) -> dict[str, str]:
        """Encoders of the streams, where they are known."""
        return {stream.name: stream.encoder for stream in self.streams if stream.encoder}


@dataclass(frozen=True)
class CandidateSet:
    """The columns of a candidate table that suggestion uses, by candidate.

    Attributes:
        table: All columns.
        candidates: (N,) int64 ids, 0 to N-1.
        mean_probability: (N,) float32.
        max_probability: (N,) float32.
        area: (N,) int32, pixels.
        folder: Folder of the set.
    """

    table: pa.Table
    candidates: Ids
    mean_probability: Floats
    max_probability: Floats
    area: Ids
    folder: str

    def columns(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return those of the named columns (N,) that the table has.

        Raises:
            InvalidInput: If a column does not hold numbers, or one is missing or not finite.
        """
        there = [name for name in names if name in self.table.column_names]
        columns = {name: _numbers(self.table, name, self.folder) for name in there}
        for name, values in columns.items():
            strange = np.flatnonzero(~np.isfinite(values))
            if len(strange):
                raise _wrong_table(
                    self.folder,
                    f"has values of {name} that are not finite, for the candidates "
                    f"{named(strange)}",
                )
        return columns


def read_candidates(store: ObjectStore, folder: str) -> CandidateSet:
    """Read the table of a candidate set.

    Raises:
        NotFound: If there is none.
        InvalidInput: If it lacks a column or one does not hold numbers, or its ids are not 0 to
            N-1.
    """
    table = read_table(store, f"{folder}/table.parquet")
    wanted = ("candidate", "mean_probability", "max_probability", "area")
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise _wrong_table(folder, f"has no columns {', '.join(missing)}")
    ids, mean, greatest, area = (_numbers(table, name, folder) for name in wanted)
    if not np.array_equal(ids, np.arange(len(ids))):
        raise _wrong_table(folder, "does not number its candidates 0 to N-1")
    return CandidateSet(table, ids, mean, greatest, area, folder)


def read_pool(store: ObjectStore, order: Order, memory: Memory | None = None) -> Pool:
    """Read what an order names, feature streams from memory where it holds them.

    Raises:
        NotFound: If a table or an array is not there.
        InvalidInput: If the inputs do not fit together or are not usable numbers.
    """
    memory = memory or Memory()
    streams = {stream.name: read_stream(store, stream, memory) for stream in order.streams}
    probabilities = order.probabilities
    predictions = _read_predictions(store, order.predictions)
    known = read_candidates(store, order.candidates) if order.candidates else None
    measures = {each.name: _read_measure(store, each, known) for each in order.measures}
    around = Surroundings()
    if known is not None:
        ids, probabilities = known.candidates, known.mean_probability
        around = read_surroundings(store, order.candidates, known.table, order.constraints)
    else:
        ids = np.arange(_rows([*streams.values(), probabilities, predictions, *measures.values()]))
    return Pool.of(
        ids,
        streams=streams,
        probabilities=probabilities,
        predictions=predictions,
        measures=measures,
        labelled=order.labelled,
        verdicts=order.verdicts,
        excluded=order.excluded,
        groups=around.groups,
        positions=around.positions,
        seconds=around.seconds,
        inside=around.inside,
        memory=memory,
    )


def read_stream(store: ObjectStore, stream: Stream, memory: Memory | None = None) -> Floats:
    """Read one feature stream (N, d), or take it from memory if no object of it was written since.

    Raises:
        NotFound: If there is no such array.
        InvalidInput: If it does not hold floating-point numbers, or is damaged.
        Unavailable: If the store does not answer.
    """
    if stream.inline is not None:
        return stream.inline
    objects = tuple((path, stat.etag) for path, stat in store.stats(stream.array))
    read = partial(_read_floats, store, stream.array, field=f"features[{stream.name}]")
    return (memory or Memory()).features((store.root, objects), read)


def _read_predictions(store: ObjectStore, predictions: Predictions | None) -> Floats | None:
    if predictions is None or predictions.inline is not None:
        return predictions.inline if predictions else None
    return _read_floats(store, predictions.array, field="predictions")


def _read_measure(store: ObjectStore, measure: Measure, known: CandidateSet | None) -> Floats:
    field = f"measures[{measure.name}]"
    if measure.inline is not None:
        return measure.inline
    if measure.array:
        return _read_floats(store, measure.array, field=field)
    column = measure.column or measure.name
    if known is None or column not in known.table.column_names:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{field} is no column {column!r} of a candidate table",
            field=field,
            value=column,
        )
    values = known.table.column(column)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise _wrong_dtype(field, values.type, "of numbers")
    # Gaps become NaN, which the pool refuses with their candidates.
    return np.asarray(values.to_numpy(), np.float32)


def _read_floats(store: ObjectStore, path: str, *, field: str) -> Floats:
    array = open_array(store, path)
    dtype = array.dtype.numpy_dtype
    if dtype.kind != "f":
        raise _wrong_dtype(field, dtype, "float32")
    # Converted chunk by chunk, so that there is never a second copy.
    return finish_read(array, array.astype(np.float32).read())


def _numbers(table: pa.Table, name: str, folder: str) -> NDArray[Any]:
    """Return a column (N,) of numbers; gaps become NaN."""
    column = table.column(name)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise _wrong_table(folder, f"has {column.type} in the column {name}, not numbers")
    return np.asarray(column.to_numpy())


def _rows(inputs: list[Floats | None]) -> int:
    counts = [len(values) for values in inputs if values is not None]
    if not counts:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD",
            "either candidates, features, probabilities, predictions or measures must be given",
            field="candidates",
        )
    return counts[0]


def _wrong_dtype(field: str, dtype: object, expected: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_DTYPE_MISMATCH",
        f"{field} are {dtype}, not {expected}",
        field=field,
        dtype=dtype,
        expected=expected,
    )


def _wrong_table(folder: str, cause: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"the candidate table of {folder!r} {cause}",
        field="candidates",
        value=folder,
    )
