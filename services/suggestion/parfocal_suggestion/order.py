"""What a caller asks for, as it comes out of a request, and the pool that it names."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from parfocal_runtime.arrays import open_array
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import read_table
from parfocal_suggestion.pool import Floats, Ids, Mask, Pool
from parfocal_suggestion.selection import Strategy


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
class Order:
    """A wish for a selection.

    Attributes:
        project: Name of the project.
        selection: Name under which the selection is kept.
        strategy: How to choose.
        budget: Picks wanted.
        seed: The seed.
        random_share: Share drawn at random, 0 to 1.
        candidates: Folder of the candidate set, or empty.
        streams: The feature streams.
        probabilities: (N,) mean probabilities where there is no candidate set.
        labelled: (L,) ids with an answer.
        verdicts: (L,) the answers.
        excluded: (E,) ids that must not be chosen.
        model: `<name>-<version>` of the base model, or empty.
    """

    project: str
    selection: str
    strategy: Strategy
    budget: int
    seed: int
    random_share: float = 0.0
    candidates: str = ""
    streams: tuple[Stream, ...] = ()
    probabilities: Floats | None = None
    labelled: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    verdicts: Mask = field(default_factory=lambda: np.empty(0, np.bool_))
    excluded: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    model: str = ""

    @property
    def encoders(self) -> dict[str, str]:
        """Encoders of the streams, where they are known."""
        return {stream.name: stream.encoder for stream in self.streams if stream.encoder}


@dataclass(frozen=True)
class CandidateSet:
    """The columns of a candidate table that suggestion uses, by candidate.

    Attributes:
        candidates: (N,) int64 ids, 0 to N-1.
        mean_probability: (N,) float32.
        max_probability: (N,) float32.
        area: (N,) int32, pixels.
    """

    candidates: Ids
    mean_probability: Floats
    max_probability: Floats
    area: Ids


def read_candidates(store: ObjectStore, folder: str) -> CandidateSet:
    """Read the table of a candidate set.

    Raises:
        NotFound: If there is none.
        InvalidInput: If it lacks a column or its ids are not 0 to N-1.
    """
    table = read_table(store, f"{folder}/table.parquet")
    wanted = ("candidate", "mean_probability", "max_probability", "area")
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise _wrong_table(folder, f"has no columns {', '.join(missing)}")
    ids, mean, greatest, area = (table.column(name).to_numpy() for name in wanted)
    if not np.array_equal(ids, np.arange(len(ids))):
        raise _wrong_table(folder, "does not number its candidates 0 to N-1")
    return CandidateSet(ids, mean, greatest, area)


def read_pool(store: ObjectStore, order: Order) -> Pool:
    """Read what an order names.

    Raises:
        NotFound: If a table or an array is not there.
        InvalidInput: If the inputs do not fit together or are not usable numbers.
    """
    streams = {stream.name: _read_stream(store, stream) for stream in order.streams}
    probabilities = order.probabilities
    if order.candidates:
        table = read_candidates(store, order.candidates)
        ids, probabilities = table.candidates, table.mean_probability
    else:
        ids = np.arange(_rows(streams, probabilities))
    return Pool.of(
        ids,
        streams=streams,
        probabilities=probabilities,
        labelled=order.labelled,
        verdicts=order.verdicts,
        excluded=order.excluded,
    )


def _read_stream(store: ObjectStore, stream: Stream) -> Floats:
    if stream.inline is not None:
        return stream.inline
    array = open_array(store, stream.array)
    dtype = array.dtype.numpy_dtype
    if dtype.kind != "f":
        raise InvalidInput(
            "ERROR_REASON_DTYPE_MISMATCH",
            f"features[{stream.name}] are {dtype}, not float32",
            field=f"features[{stream.name}]",
            dtype=dtype,
            expected="float32",
        )
    return np.asarray(array.read().result(), np.float32)


def _rows(streams: dict[str, Floats], probabilities: Floats | None) -> int:
    counts = [len(features) for features in streams.values()]
    if probabilities is not None:
        counts.append(len(probabilities))
    if not counts:
        raise InvalidInput(
            "ERROR_REASON_MISSING_FIELD",
            "either candidates, features or probabilities must be given",
            field="candidates",
        )
    return counts[0]


def _wrong_table(folder: str, cause: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"the candidate table of {folder!r} {cause}",
        field="candidates",
        value=folder,
    )
