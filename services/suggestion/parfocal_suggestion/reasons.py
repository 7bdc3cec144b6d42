"""Why each pick is in the queue, as a small JSON object. docs/reasons.md lists the keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.distances import nearest
from parfocal_suggestion.pool import Floats, Pool, Rows
from parfocal_suggestion.suggest import Suggestion


def reasons(
    pool: Pool, suggestion: Suggestion, *, encoders: Mapping[str, str], model: str
) -> list[str]:
    """Write one JSON object for each pick, in the order of the queue.

    Args:
        pool: The pool of the suggestion.
        suggestion: The picks.
        encoders: `<name>-<version>` of the encoder of each stream, where known.
        model: `<name>-<version>` of the base model, or empty.
    """
    rows = pool.rows_of(suggestion.candidates)
    common = {
        "strategy": suggestion.strategy.name,
        "version": suggestion.strategy.version,
        "seed": suggestion.seed,
        **({"encoders": dict(sorted(encoders.items()))} if encoders else {}),
        **({"model": model} if model else {}),
    }
    parts = zip(
        ({"role": role.value} for role in suggestion.roles),
        ({"score": number} for number in _numbers(suggestion.scores)),
        _parts(suggestion),
        _cells(suggestion, rows),
        _nearest_labelled(pool, suggestion, rows),
        _confidence(pool, rows),
        strict=True,
    )
    return [_json({**common, **{k: v for part in pick for k, v in part.items()}}) for pick in parts]


def cell_sizes(cells: NDArray[np.int32], rows: Rows) -> NDArray[np.int32]:
    """Members (n,) of the cell of each of `rows`, of the cells (N,) of all; 0 for those in none."""
    counts = np.append(np.bincount(cells[cells >= 0]), 0)
    return counts[cells[rows]].astype(np.int32)


def _parts(suggestion: Suggestion) -> list[dict[str, object]]:
    """What the score of each pick is made of, and which part of the strategy chose it."""
    found: list[dict[str, object]] = [{} for _ in suggestion.candidates]
    selection = suggestion.selection
    for place, row in enumerate(np.flatnonzero(~suggestion.is_random)):
        parts = {name: _number(part[place]) for name, part in selection.parts.items()}
        if known := {name: number for name, number in parts.items() if number is not None}:
            found[row]["parts"] = known
        if selection.chosen_by:
            found[row]["chosen_by"] = selection.chosen_by[place]
    return found


def _cells(suggestion: Suggestion, rows: Rows) -> list[dict[str, object]]:
    selection = suggestion.selection
    sizes = cell_sizes(selection.cells, rows).tolist()
    outer = cell_sizes(selection.clusters, rows).tolist()
    return [
        {
            "cluster": int(selection.clusters[row]),
            "cluster_size": cluster_size,
            "cell": int(selection.cells[row]),
            "cell_size": size,
            "distance": _number(selection.distances[row]),
        }
        if selection.cells[row] >= 0
        else {}
        for row, size, cluster_size in zip(rows, sizes, outer, strict=True)
    ]


def _nearest_labelled(pool: Pool, suggestion: Suggestion, rows: Rows) -> list[dict[str, object]]:
    space = suggestion.strategy.space(pool)
    if space is None or not len(pool.labelled) or not len(rows):
        return [{} for _ in rows]
    neighbours, distances = nearest(space[rows], space[pool.labelled_rows])
    return [
        {
            "nearest_labelled": {
                "candidate": int(pool.labelled[neighbour]),
                "verdict": bool(pool.verdicts[neighbour]),
                "distance": _number(distance),
            }
        }
        for neighbour, distance in zip(neighbours, distances, strict=True)
    ]


def _confidence(pool: Pool, rows: Rows) -> list[dict[str, object]]:
    if pool.probabilities is None:
        return [{} for _ in rows]
    chosen = pool.probabilities[rows]
    sure = np.maximum(chosen, 1 - chosen) if chosen.ndim == 1 else chosen.max(axis=1)
    return [{"confidence": number} for number in _numbers(sure)]


def _numbers(values: Floats) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float | np.float32) -> float | None:
    return float(f"{float(value):.6g}") if math.isfinite(value) else None


def _json(reason: Mapping[str, object]) -> str:
    # JSON has no NaN: what is undefined is left out.
    return json.dumps({key: value for key, value in reason.items() if value is not None})
