"""Cards as files: a bioimage.io model description, `rdf.yaml`, beside its test tensors."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.cards import AxisCard, AxisType, CardFields, TensorCard, VariantCard
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.npy import read_npy

MODEL_FILE = "model.onnx"

# The oldest version that has every key written here; newer readers take it.
_FORMAT_VERSION = "0.5.7"
# The format knows neither; the values are kept as float32 and cast back for the self-test.
_STORED_AS = {"float16": np.dtype(np.float32)}


@dataclass(frozen=True)
class CardFiles:
    """A card as it is stored.

    Attributes:
        rdf: Content of `rdf.yaml`.
        tensors: Content of each test tensor, by file name.
    """

    rdf: bytes
    tensors: dict[str, bytes]


@dataclass(frozen=True)
class ReadCard:
    """A card that was read, with its test tensors, and what it says of the weights."""

    card: CardFields
    model_sha256: str


def write_card(name: str, card: CardFields, model: bytes, *, opset: int) -> CardFiles:
    """Return the files that describe a model.

    Args:
        name: Name of the model.
        card: What they say.
        model: The ONNX file, whose sha256 goes into the card.
        opset: The ONNX operator set that the graph uses.

    Raises:
        InvalidInput: If bioimage.io's own check refuses the card (`ERROR_REASON_INVALID_MODEL`).
    """
    inputs, outputs = _test_files("input", card.inputs), _test_files("output", card.outputs)
    tensors = {**inputs, **outputs}
    rdf: dict[str, Any] = {
        "type": "model",
        "format_version": _FORMAT_VERSION,
        "name": "Parfocal model " + re.sub(r"[^A-Za-z0-9_-]", "-", name),
        "description": card.description,
        "inputs": _tensors(card, card.inputs, inputs, "input"),
        "outputs": _tensors(card, card.outputs, outputs, "output"),
        "weights": {
            "onnx": {"source": MODEL_FILE, "sha256": sha256(model), "opset_version": opset}
        },
        "config": {"parfocal": _own_fields(card)},
    }
    if card.license:
        rdf["license"] = card.license
    if card.authors:
        rdf["authors"] = [{"name": author} for author in card.authors]
    _described(rdf)
    return CardFiles(yaml.safe_dump(rdf, sort_keys=False, allow_unicode=True).encode(), tensors)


def read_card(rdf: bytes, read: Callable[[str], bytes]) -> ReadCard:
    """Return a card and its test tensors.

    Args:
        rdf: Content of `rdf.yaml`.
        read: Returns the content of a file that lies beside it.

    Raises:
        InvalidInput: If the card is none, or a test tensor is not the one that it names
            (`ERROR_REASON_INVALID_MODEL`).
    """
    described = _described(_parsed(rdf))
    own = described.config.model_dump().get("parfocal") or {}
    if described.weights.onnx is None:
        raise _refused("the card names no ONNX weights")
    voxel = own.get("voxel_size_nm")
    card = CardFields(
        description=str(described.description or ""),
        inputs=_read_tensors(described.inputs, own.get("inputs", ()), read),
        outputs=_read_tensors(described.outputs, own.get("outputs", ()), read),
        kind=own.get("kind", "other"),
        stream=own.get("stream", ""),
        voxel_size_nm=None if voxel is None else (voxel[0], voxel[1], voxel[2]),
        license=str(described.license or ""),
        authors=tuple(author.name for author in described.authors),
        tile=tuple(own.get("tile", ())),
        variant=_read_variant(own.get("variant")),
    )
    return ReadCard(card, str(described.weights.onnx.sha256 or ""))


def sha256(data: bytes) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _own_fields(card: CardFields) -> dict[str, Any]:
    return {
        "kind": card.kind,
        "stream": card.stream,
        "voxel_size_nm": None if card.voxel_size_nm is None else list(card.voxel_size_nm),
        # The format's own ids are lower-case identifiers, which the names of a graph need not be.
        "inputs": [tensor.name for tensor in card.inputs],
        "outputs": [tensor.name for tensor in card.outputs],
        **({"tile": list(card.tile)} if card.tile else {}),
        **({"variant": dataclasses.asdict(card.variant)} if card.variant else {}),
    }


def _test_files(role: str, tensors: Sequence[TensorCard]) -> dict[str, bytes]:
    return {f"test_{role}_{i}.npy": _npy(tensor.test) for i, tensor in enumerate(tensors)}


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    stored = array.astype(_STORED_AS.get(array.dtype.name, array.dtype), copy=False)
    np.save(buffer, np.ascontiguousarray(stored), allow_pickle=False)
    return buffer.getvalue()


def _tensors(
    card: CardFields, tensors: Sequence[TensorCard], files: dict[str, bytes], role: str
) -> list[dict[str, Any]]:
    described = []
    for i, (tensor, (file, content)) in enumerate(zip(tensors, files.items(), strict=True)):
        described.append(
            {
                "id": _tensor_id(role, i),
                "axes": [_axis(card, axis, role) for axis in tensor.axes],
                "test_tensor": {"source": file, "sha256": sha256(content)},
                "data": _data(tensor.test.dtype),
            }
        )
    return described


def _tensor_id(role: str, position: int) -> str:
    return f"{role}{position}"


def _data(dtype: np.dtype[np.generic]) -> dict[str, Any]:
    if dtype == np.bool_:
        return {"type": "bool", "values": [False, True]}
    return {"type": _STORED_AS.get(dtype.name, dtype).name}


def _axis(card: CardFields, axis: AxisCard, role: str) -> dict[str, Any]:
    if axis.type == "batch":
        return {"type": "batch"}
    if axis.type == "channel":
        names = [f"channel{i}" for i in range(axis.size)]
        return {"type": "channel", "id": axis.id, "channel_names": names}
    described: dict[str, Any] = {"type": axis.type, "id": axis.id, "size": _size(card, axis, role)}
    if axis.type == "space" and card.voxel_size_nm is not None and axis.id in "zyx":
        scale = float(card.voxel_size_nm["zyx".index(axis.id)])
        if _keeps_halos(card, axis.id, scale):
            described["unit"] = "nanometer"
            described["scale"] = scale
    if axis.halo:
        described["halo"] = axis.halo
    return described


def _keeps_halos(card: CardFields, axis_id: str, scale: float) -> bool:
    """Return whether halos survive bioimage.io's check, which multiplies and divides by the scale.

    Where rounding makes 12 * 2.7 / 2.7 less than 12 it refuses the card. Our own fields have the
    voxel size in any case.
    """
    halos = [axis.halo for tensor in card.outputs for axis in tensor.axes if axis.id == axis_id]
    return all(halo * scale / scale == halo for halo in halos)


def _size(card: CardFields, axis: AxisCard, role: str) -> int | dict[str, Any]:
    if role == "input":
        return axis.size if axis.fixed else {"min": axis.least or axis.size, "step": axis.step}
    twin = any(
        other.id == axis.id and other.size == axis.size and other.type == axis.type
        for other in card.inputs[0].axes
    )
    if axis.type == "space" and twin and (axis.halo or not axis.fixed):
        return {"tensor_id": _tensor_id("input", 0), "axis_id": axis.id}
    return axis.size if axis.fixed else {"min": 1}


def _parsed(rdf: bytes) -> dict[str, Any]:
    try:
        parsed = yaml.safe_load(rdf)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _refused("the card is not YAML") from error
    if not isinstance(parsed, dict):
        raise _refused("the card is not a mapping")
    return parsed


def _described(rdf: dict[str, Any]) -> Any:
    # Takes a second to import, and only a process that meets a card needs it.
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description
    from bioimageio.spec.model.v0_5 import ModelDescr

    # The files are checked where they are read, through the object store.
    context = ValidationContext(root=Path("/nowhere"), perform_io_checks=False)
    described = build_description(rdf, context=context, format_version="latest")
    if isinstance(described, InvalidDescr) or not isinstance(described, ModelDescr):
        errors = [
            f"{'.'.join(str(part) for part in error.loc)}: {error.msg}"
            for detail in described.validation_summary.details
            for error in detail.errors
        ]
        raise _refused("; ".join(errors[:3]) or "the card describes no model")
    return described


def _read_tensors(
    described: Sequence[Any], names: Sequence[str], read: Callable[[str], bytes]
) -> tuple[TensorCard, ...]:
    tensors = []
    for i, tensor in enumerate(described):
        if tensor.test_tensor is None:
            raise _refused(f"tensor {tensor.id} has no test tensor")
        test = _read_test(tensor.test_tensor, read)
        if test.ndim != len(tensor.axes):
            raise _refused(f"tensor {tensor.id} has {len(tensor.axes)} axes, its test {test.ndim}")
        axes = tuple(
            _read_axis(axis, side) for axis, side in zip(tensor.axes, test.shape, strict=True)
        )
        tensors.append(TensorCard(names[i] if i < len(names) else str(tensor.id), axes, test))
    return tuple(tensors)


def _read_test(file: Any, read: Callable[[str], bytes]) -> Array:
    source = str(file.source.root) if hasattr(file.source, "root") else str(file.source)
    content = read(source)
    if file.sha256 is not None and sha256(content) != str(file.sha256):
        raise _refused(f"{source} is not the file that the card names (sha256)")
    try:
        return read_npy(content)
    except ValueError as error:
        raise _refused(f"{source} is not an array") from error


def _read_axis(axis: Any, size: int) -> AxisCard:
    types: dict[str, AxisType] = {"batch": "batch", "channel": "channel", "space": "space"}
    length = getattr(axis, "size", None)
    fixed = axis.type == "channel" or isinstance(length, int)
    step = int(getattr(length, "step", 0))
    least = int(getattr(length, "min", size)) if step else size
    return AxisCard(
        str(axis.id),
        types.get(axis.type, "index"),
        size,
        fixed=fixed,
        halo=int(getattr(axis, "halo", 0)),
        least=0 if least == size else least,
        step=step or 1,
    )


def _read_variant(own: Any) -> VariantCard | None:
    if own is None:
        return None
    try:
        return VariantCard(**own)
    except TypeError as error:
        raise _refused("what it says of its variant cannot be read") from error


def _refused(cause: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_MODEL",
        f"the model's card cannot be used: {cause}",
        field="card",
        cause=cause,
    )
