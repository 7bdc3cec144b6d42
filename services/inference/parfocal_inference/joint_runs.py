"""One run of a model for the rows of several requests, and each request's part of what it gave."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.buckets import filled_up
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.row_runs import run_rows
from parfocal_runtime.models.sessions import ModelSession


class Share(NamedTuple):
    """What one request has in a run.

    Attributes:
        inputs: An array for each input.
        outputs: Names of the outputs wanted.
        rows: Which rows of the arrays run; None is the arrays as they are, which then need not
            have rows.
    """

    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    rows: slice | None = None


class StageTimes(NamedTuple):
    """How long the stages of a run took, in nanoseconds."""

    input_ns: int
    infer_ns: int
    output_ns: int

    def plus(self, other: StageTimes) -> StageTimes:
        """Return the times of two runs together."""
        return StageTimes(
            self.input_ns + other.input_ns,
            self.infer_ns + other.infer_ns,
            self.output_ns + other.output_ns,
        )


NO_TIME = StageTimes(0, 0, 0)


class RowsLost(Exception):
    """A model gave another number of rows than it was given, so nobody can tell whose they are."""


def run_jointly(
    session: ModelSession,
    shares: Sequence[Share],
    buckets: Sequence[int] = (),
    *,
    independent: bool = False,
) -> tuple[list[dict[str, Array]], StageTimes]:
    """Run a model once and return each share's outputs, in the order it wants them.

    Rows are copied once where there are several shares or rows are filled up, and not at all
    otherwise. The outputs of several shares are views of the run's.

    Args:
        session: The model.
        shares: At least one; of several, all have the same shapes but for their rows.
        buckets: Numbers of rows, ascending, to the next of which zeros fill the run up.
        independent: Whether rows do not depend on each other, so that a processor may take them a
            few at a time.

    Raises:
        InvalidInput: If the model cannot run on them.
        RowsLost: If the outputs cannot be divided.
    """
    begun = time.monotonic_ns()
    rows = sum(_length(share) for share in shares) if buckets else 0
    filled = filled_up(rows, buckets)
    inputs = _joined(shares) if filled == rows else _filled(shares, filled)
    wanted = list(dict.fromkeys(name for share in shares for name in share.outputs))
    prepared = time.monotonic_ns()
    found = run_rows(session, inputs, wanted) if independent else session.run(inputs, wanted)
    ran = time.monotonic_ns()
    parts = _divided(found, shares, filled=filled if filled != rows else None)
    done = time.monotonic_ns()
    return parts, StageTimes(prepared - begun, ran - prepared, done - ran)


def put_together(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the outputs of a request that ran in parts, in the order of its rows.

    Raises:
        InvalidInput: If the rows of one part are of another shape than those of another
            (`ERROR_REASON_INVALID_FIELD`).
    """
    for name, first in parts[0].items():
        shapes = sorted({part[name].shape[1:] for part in parts})
        if len(shapes) > 1:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"the model gives {name} another shape in each run, {list(shapes[0])} and "
                f"{list(shapes[-1])}, so what it gives for so many rows cannot be put together; "
                f"{len(first)} rows at a time are one run",
                field="inputs",
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def count_rows(inputs: Mapping[str, Array]) -> int:
    """Return how many rows all of `inputs` have.

    Raises:
        InvalidInput: If they do not have the same number (`ERROR_REASON_SHAPE_MISMATCH`).
    """
    counts = {name: int(array.shape[0]) for name, array in inputs.items()}
    first, rows = next(iter(counts.items()))
    for name, count in counts.items():
        if count != rows:
            raise InvalidInput(
                "ERROR_REASON_SHAPE_MISMATCH",
                f"all inputs must have the same number of rows: {first} has {rows}, "
                f"{name} has {count}",
                field="inputs",
                shape=list(inputs[name].shape),
                expected=[rows, *inputs[name].shape[1:]],
            )
    return rows


def _joined(shares: Sequence[Share]) -> dict[str, Array]:
    if len(shares) == 1:
        return {name: _rows_of(array, shares[0]) for name, array in shares[0].inputs.items()}
    return {
        name: np.concatenate([_rows_of(share.inputs[name], share) for share in shares])
        for name in shares[0].inputs
    }


def _filled(shares: Sequence[Share], rows: int) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    for name, first in shares[0].inputs.items():
        inputs[name] = batch = np.empty((rows, *first.shape[1:]), first.dtype)
        end = 0
        for share in shares:
            begin, end = end, end + _length(share)
            batch[begin:end] = _rows_of(share.inputs[name], share)
        # Rows of nobody: whatever comes of them is cut off.
        batch[end:] = b"" if batch.dtype.hasobject else 0
    return inputs


def _rows_of(array: Array, share: Share) -> Array:
    return array if share.rows is None else array[share.rows]


def _divided(
    found: Mapping[str, Array], shares: Sequence[Share], *, filled: int | None
) -> list[dict[str, Array]]:
    if len(shares) == 1 and shares[0].rows is None and filled is None:
        return [{name: found[name] for name in shares[0].outputs}]
    ends = list(accumulate(_length(share) for share in shares))
    ran = ends[-1] if filled is None else filled
    for array in found.values():
        if not array.shape or array.shape[0] != ran:
            raise RowsLost
    return [
        {name: found[name][start:end] for name in share.outputs}
        for share, start, end in zip(shares, [0, *ends], ends, strict=False)
    ]


def _length(share: Share) -> int:
    if share.rows is not None:
        return int(share.rows.stop - share.rows.start)
    return int(next(iter(share.inputs.values())).shape[0])
