"""What is known of the candidates of a set, as the parts of a learned model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.covariance import Linear, Matrix, Part, Shared, Smooth
from parfocal_suggestion.geometry import NEIGHBOURS, Column, bodies, geometry
from parfocal_suggestion.pool import Floats, Ids

COMPONENTS = 16
"""Directions of an embedding that are kept."""
_ROWS_OF_THE_DIRECTIONS = 20_000


@dataclass(frozen=True)
class Knowledge:
    """What a model may learn from, N candidates.

    Attributes:
        parts: By name: `geometry`, `bodies` where the table tells of sections, `groups` where
            they are given, and one for each embedding under `embedding:<stream>`.
        groups: (N,) candidates that must be held out together.
        leaning: (N,) logit of being right that is believed before any label.
    """

    parts: Mapping[str, Part]
    groups: Ids
    leaning: Matrix


def knowledge(
    table: Mapping[str, Column], streams: Mapping[str, Floats], groups: Ids | None = None
) -> Knowledge:
    """Gather what is known; no label is needed.

    Args:
        table: Columns (N,) of the candidate table by name.
        streams: Embeddings (N, d) by stream.
        groups: (N,) such as patients or objects. Without them the bodies are held out together,
            and without those every candidate is alone.
    """
    shape = geometry(table)
    parts: dict[str, Part] = {"geometry": Linear(shape.columns)}
    held_together = np.arange(len(table["area"]))
    if set(NEIGHBOURS) <= set(table):
        held_together = bodies(table)
        parts["bodies"] = Shared(held_together)
    if groups is not None:
        held_together = groups
        parts["groups"] = Shared(groups)
    for name, stream in streams.items():
        parts[f"embedding:{name}"] = Smooth.over(reduced(stream))
    return Knowledge(parts, held_together, shape.leaning)


def reduced(stream: Floats) -> NDArray[np.float64]:
    """Return the directions of largest variance (N, at most `COMPONENTS`), at their own scale.

    They are found from at most 20,000 evenly spread rows.

    Args:
        stream: (N, d) float32.
    """
    if not len(stream):
        return np.empty((0, min(COMPONENTS, stream.shape[1])))
    count = min(len(stream), _ROWS_OF_THE_DIRECTIONS)
    rows = np.linspace(0, len(stream) - 1, count).round().astype(np.intp)
    sample = stream[rows].astype(np.float64)
    centre = sample.mean(axis=0)
    directions = np.linalg.eigh(np.cov(sample, rowvar=False, ddof=0).reshape(2 * centre.shape))[1]
    kept = directions[:, ::-1][:, :COMPONENTS]
    return np.asarray(stream @ kept - centre @ kept)
