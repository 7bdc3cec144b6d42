"""Runs of many rows on a processor, cut so that what they keep stays in its cache.

A GPU wants large runs. A processor works through a layer for all rows before it begins the next;
where their results do not fit into its cache they leave it and come back. Threads that share a run
wait for each other at each layer, so that they want more rows unless each is large, and do more
where each takes rows of its own (`side_by_side`); and OpenVINO has a thread of its own for each
run, which costs more than it would gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.sessions import ModelSession

CACHE_BYTES = 3 << 19
"""What the results of a run may take for each thread: the second-level cache of a core has one or
two MiB, and weights and what operators take for themselves lie there too."""

# Each run reads all weights anew, which counts little where its results take so many times as much.
_WEIGHTS = 4


def rows_in_cache(row_bytes: int, *, weight_bytes: int, threads: int) -> int | None:
    """Return how many rows a run should have.

    Args:
        row_bytes: Most bytes that the results of a row take at a time; 0 is unknown.
        weight_bytes: Bytes of the weights.
        threads: Threads of a run.

    Returns:
        At least 1; None is any number.
    """
    room = max(threads * CACHE_BYTES, _WEIGHTS * weight_bytes)
    if not row_bytes or (threads > 1 and row_bytes <= room):
        return None
    return max(1, room // row_bytes)


def run_rows(
    session: ModelSession, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> dict[str, Array]:
    """Run a graph on rows that do not depend on each other, a few at a time on a processor.

    Where its session has threads for it, a few run side by side with others. Inputs are not copied
    for it. A graph that gives another number of rows than it is given, or rows of another shape in
    each run, is run again on all of them at once, and so from then on.

    Args:
        session: The graph.
        inputs: An array for each input; the first side counts rows.
        outputs: Names of the outputs wanted; None is all.

    Returns:
        The outputs by name, as `ModelSession.run`.

    Raises:
        InvalidInput: As `ModelSession.run`.
        Exhausted: As `ModelSession.run`.
    """
    counts = {len(array) if array.ndim else 0 for array in inputs.values()}
    rows = counts.pop() if len(counts) == 1 else 0
    beside, most = session.side_by_side, session.rows_at_once
    if beside is not None:
        # Each thread has some.
        share = max(1, -(-rows // beside.at_once))
        most = share if most is None else min(share, most)
    if most is None or rows <= most:
        return session.run(inputs, outputs)
    parts = [
        {name: array[start : start + most] for name, array in inputs.items()}
        for start in range(0, rows, most)
    ]
    found = (
        [session.run(part, outputs) for part in parts]
        if beside is None
        else beside.run_all(session, parts, outputs)
    )
    lengths = [len(next(iter(part.values()))) for part in parts]
    if any(
        array.shape != (length, *found[0][name].shape[1:])
        for length, part in zip(lengths, found, strict=True)
        for name, array in part.items()
    ):
        session.rows_at_once = session.side_by_side = None
        return session.run(inputs, outputs)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
