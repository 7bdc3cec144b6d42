"""Publishing a bare ONNX file: its card is made from the graph itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.cards import AxisCard, CardFields, Kind, Stream, TensorCard
from parfocal_runtime.models.datatypes import (
    BF16,
    BYTES,
    Array,
    from_bf16_bits,
    to_codes,
)
from parfocal_runtime.models.noise import noise
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.self_test import disagreement
from parfocal_runtime.models.sessions import (
    ModelSession,
    TensorSpec,
    invalid_model,
    open_session,
)
from parfocal_runtime.store import ObjectStore

_SEED = 20260817
_ROWS = (2, 1)
# Tried in turn for sides that the graph leaves free; a U-Net wants a multiple of some power of two.
_SIDES = (32, 64, 16, 8, 128, 4, 1, 3)


def publish_file(
    store: ObjectStore,
    name: str,
    path: str | os.PathLike[str],
    *,
    description: str = "",
    halo: Sequence[int] | None = None,
    voxel_size_nm: tuple[float, float, float] | None = None,
    lineage: Mapping[str, Any] | None = None,
) -> int:
    """Publish an ONNX file as a model's next version and return its number.

    The test tensors are what the graph gives for seeded input. An input `image` (N,1,Z,Y,X) with
    an output `probability` makes a base model; a `patch` (N,1,H,W) with an `embedding` an encoder,
    of the mask stream if the patch is int8.

    Args:
        store: Where the repository is.
        name: Name of the model.
        path: The ONNX file.
        description: One paragraph for people.
        halo: Voxels (z, y, x) at each face of a base model's window that its border spoils; None
            is an eighth of the window.
        voxel_size_nm: Voxel size (z, y, x) in nanometres that a base model was trained at.
        lineage: Where it comes from.

    Raises:
        InvalidInput: If the file is no ONNX model, needs what cannot be guessed, or does not give
            the same twice (`ERROR_REASON_INVALID_MODEL`); if the name is ill-formed.
    """
    model = Path(path).read_bytes()
    session = open_session(model)
    card = card_of(
        session, description=description or f"{name}, published from a file.", halo=halo,
        voxel_size_nm=voxel_size_nm,
    )  # fmt: skip
    cause = disagreement(session, card)
    if cause:
        raise invalid_model(f"it does not give the same twice: {cause}")
    origin = {"source": Path(path).name} if lineage is None else dict(lineage)
    return ModelRepository(store).publish(name, model, card=card, lineage=origin)


def card_of(
    session: ModelSession,
    *,
    description: str,
    halo: Sequence[int] | None = None,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> CardFields:
    """Return a card for a graph, its test tensors made by running it once on seeded input.

    Raises:
        InvalidInput: If it runs on no size that was tried (`ERROR_REASON_INVALID_MODEL`).
    """
    inputs, outputs = _run_once(session)
    kind, stream = _kind(session)
    margin = halo
    if kind == "base" and halo is None:
        margin = [side // 8 for side in inputs[session.inputs[0].name].shape[2:]]
    return CardFields(
        description=description,
        inputs=tuple(_tensor(spec, inputs[spec.name], kind) for spec in session.inputs),
        outputs=tuple(_tensor(spec, outputs[spec.name], kind, margin) for spec in session.outputs),
        kind=kind,
        stream=stream,
        voxel_size_nm=voxel_size_nm,
    )


def _run_once(session: ModelSession) -> tuple[dict[str, Array], dict[str, Array]]:
    failure: InvalidInput | None = None
    for rows, side in _sizes(session.inputs):
        rng = np.random.default_rng(_SEED)
        known: dict[str, int] = {}
        inputs = {
            spec.name: noise(spec, _shape(spec, rows=rows, side=side, known=known), rng)
            for spec in session.inputs
        }
        try:
            return inputs, session.run(inputs)
        except InvalidInput as error:
            failure = failure or error
    raise invalid_model(failure.message if failure else "it has no inputs")


def _sizes(inputs: Sequence[TensorSpec]) -> Iterator[tuple[int, int]]:
    has_free = any(-1 in spec.shape[1:] for spec in inputs)
    return product(_ROWS, _SIDES if has_free else _SIDES[:1])


def _shape(spec: TensorSpec, *, rows: int, side: int, known: dict[str, int]) -> tuple[int, ...]:
    """Return a shape that fits; sides of the same symbol get the same length in all inputs."""
    shape = []
    for i, (length, symbol) in enumerate(zip(spec.shape, spec.symbols, strict=True)):
        wanted = rows if i == 0 else side
        free = known.setdefault(symbol, wanted) if symbol else wanted
        shape.append(free if length == -1 else length)
    return tuple(shape)


def _kind(session: ModelSession) -> tuple[Kind, Stream]:
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        return "other", ""
    (source,), (result,) = session.inputs, session.outputs
    if (source.name, result.name) == ("image", "probability") and len(source.shape) == 5:
        return "base", ""
    if (source.name, result.name) == ("patch", "embedding") and len(source.shape) == 4:
        return "encoder", "mask" if source.datatype == "INT8" else "image"
    return "other", ""


def _tensor(
    spec: TensorSpec, array: Array, kind: Kind, halo: Sequence[int] | None = None
) -> TensorCard:
    kept = _kept(spec, array)
    return TensorCard(spec.name, _axes(spec, kept, kind, halo), kept)


def _kept(spec: TensorSpec, array: Array) -> Array:
    """Return `array` as a card keeps it: the format has neither BF16 nor text nor bare values."""
    if spec.datatype == BYTES:
        return to_codes(array)
    kept = from_bf16_bits(array) if spec.datatype == BF16 else array
    return kept if kept.shape else kept.reshape(1)


def _axes(
    spec: TensorSpec, array: Array, kind: Kind, halo: Sequence[int] | None
) -> tuple[AxisCard, ...]:
    space = {5: "zyx", 4: "yx"}.get(len(spec.shape), "") if kind != "other" else ""
    margins = dict(zip(space, halo, strict=True)) if halo is not None and space else {}
    axes = []
    for i, size in enumerate(array.shape):
        fixed = i < len(spec.shape) and spec.shape[i] != -1
        last = space[i - 2] if space and i >= 2 else ""
        if i == 0 and spec.has_batch:
            axes.append(AxisCard("batch", "batch", size, fixed=False))
        elif last:
            axes.append(AxisCard(last, "space", size, fixed=fixed, halo=margins.get(last, 0)))
        elif space and i == 1 and fixed:
            axes.append(AxisCard("channel", "channel", size))
        else:
            axes.append(AxisCard(f"axis{i}", "index", size, fixed=fixed))
    return tuple(axes)
