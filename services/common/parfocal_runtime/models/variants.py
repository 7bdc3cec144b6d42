"""Copies of models with fewer bits, and how much they differ from what they were made of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.models.cards import (
    VARIANT_LIMIT,
    CardFields,
    Precision,
    TensorCard,
    VariantCard,
)
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.graph import parsed
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.self_test import fed
from parfocal_runtime.models.sessions import ModelSession, invalid_model, open_session
from parfocal_runtime.store import ObjectStore

_HALF = 0.5
# Operators whose inputs but the first say how large the output is.
_SIZED = ("Resize", "Upsample")
# What the quantizer looks for to know that shapes were inferred; it warns otherwise.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")


@dataclass(frozen=True)
class PublishedVariant:
    """A variant in the repository.

    Attributes:
        name: Its name.
        version: Its version, which is that of the original.
        report: How much it differs.
    """

    name: str
    version: int
    report: VariantCard


def variant_name(name: str, precision: Precision) -> str:
    """Return the name of the model that is a variant of `name`, such as `base-fp16`."""
    return f"{name}-{precision}"


def checked_precision(text: str) -> Precision:
    """Return `text` as what a variant computes with.

    Raises:
        InvalidInput: If it is nothing of the kind (`ERROR_REASON_INVALID_FIELD`).
    """
    for precision in get_args(Precision):
        if text == precision:
            return cast(Precision, precision)
    raise InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"a variant computes with {' or '.join(get_args(Precision))}, not with {text!r}",
        field="precision",
    )


def publish_variant(
    store: ObjectStore,
    name: str,
    precision: Precision,
    *,
    version: int | None = None,
    limit: float = VARIANT_LIMIT,
    held_out: Sequence[Mapping[str, Array]] = (),
) -> PublishedVariant:
    """Publish a variant of a model version.

    The variant is a model of its own, `variant_name`, so whoever calls names it like any other,
    and it has a `config.pbtxt` of its own. Its card and lineage tell how much it differs.

    Args:
        store: Where the repository is.
        name: Name of the original.
        precision: What the variant computes with.
        version: Version of the original; None is the newest.
        limit: Largest difference allowed, as a share of the output's largest value or of 1,
            whichever is more.
        held_out: Inputs on which both are compared, besides the test inputs of the card.

    Raises:
        NotFound: If there is no such version (`ERROR_REASON_MODEL_NOT_FOUND`).
        InvalidInput: If it is a variant itself (`ERROR_REASON_INVALID_FIELD`), or cannot be
            converted (`ERROR_REASON_INVALID_MODEL`).
        WrongState: If the variant differs too much (`ERROR_REASON_VARIANT_INACCURATE`).
        AlreadyExists: If the variant's version is something else
            (`ERROR_REASON_ARTIFACT_EXISTS`).
    """
    repository = ModelRepository(store)
    stored = repository.read(name, version)
    if stored.card.variant is not None:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{name}/{stored.version} is the {stored.card.variant.precision} variant of "
            f"{stored.card.variant.of} already; name that model",
            field="name",
            value=name,
        )
    original = open_session(stored.model)
    model = converted(stored.model, precision)
    variant = (
        open_session(half_rounded(stored.model)) if precision == "fp16" else open_session(model)
    )
    tests = fed(original, stored.card)
    report = compared(original, variant, [tests, *held_out], is_base=stored.card.kind == "base")
    origin = f"{name}/{stored.version}"
    if not report.difference <= limit:
        raise _inaccurate(origin, precision, report, limit)
    report = replace(report, precision=precision, of=origin)
    own = variant_name(name, precision)
    number = repository.publish(
        own,
        model,
        card=_card(stored.card, variant.run(tests), report),
        lineage={
            "parent": {"name": name, "version": stored.version},
            "variant": {"precision": precision, "limit": limit, **report.figures()},
        },
        version=stored.version,
    )
    return PublishedVariant(own, number, report)


def converted(model: bytes, precision: Precision) -> bytes:
    """Return a graph of the same inputs and outputs that computes with fewer bits.

    `fp16` has weights and all that is computed in 16-bit floats; `int8` has weights of 8 bits,
    and activations that are cut to 8 bits where they meet them (dynamic quantization).

    Raises:
        InvalidInput: If the graph cannot be converted (`ERROR_REASON_INVALID_MODEL`).
    """
    graph = parsed(model)
    before = _kinds(graph)
    convert = {"fp16": _to_half, "int8": _to_int8}[precision]
    try:
        changed = convert(graph)
    # What the converters raise is nowhere said.
    except Exception as error:
        cause = str(error).strip().split("\n", 1)[0][:300]
        raise invalid_model(f"it has no {precision} variant: {cause}") from error
    if _kinds(changed) == before:
        raise invalid_model(f"it has no {precision} variant: there is nothing to convert")
    return bytes(changed.SerializeToString())


def half_rounded(model: bytes) -> bytes:
    """Return a graph that gives on the processor what its `fp16` variant gives on a GPU.

    ONNX Runtime has hardly any operators of 16-bit floats for the processor and computes with
    32 bits from one end to the other, so that nothing rounds and nothing overflows. A GPU adds up
    in 32 bits and keeps each result in 16: here each result is rounded to 16 bits and back.

    Raises:
        InvalidInput: If the bytes are no self-contained ONNX model (`ERROR_REASON_INVALID_MODEL`).
    """
    from onnx import TensorProto, helper, numpy_helper, shape_inference

    graph = shape_inference.infer_shapes(parsed(model)).graph
    # Sizes are computed from these, and stay floats of 32 bits in the variant too.
    exact_names = {name for node in graph.node if node.op_type in _SIZED for name in node.input[1:]}
    floats = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    } - exact_names
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT and weight.name not in exact_names:
            rounded = _clipped(numpy_helper.to_array(weight)).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for at, name in enumerate(node.output):
            if name not in floats:
                continue
            exact, half = f"{name}/exact", f"{name}/half"
            node.output[at] = exact
            nodes.append(helper.make_node("Cast", [exact], [half], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    whole = parsed(model)
    whole.graph.CopyFrom(graph)
    del whole.graph.node[:], whole.graph.value_info[:]
    whole.graph.node.extend(nodes)
    return bytes(whole.SerializeToString())


def compared(
    original: ModelSession,
    variant: ModelSession,
    inputs: Sequence[Mapping[str, Array]],
    *,
    is_base: bool,
) -> VariantCard:
    """Return how much the floating outputs of two sessions differ on the same inputs.

    Args:
        original: What is right.
        variant: What is judged.
        inputs: Inputs of each run, by name.
        is_base: Whether outputs are probabilities of voxels, of which it is counted how many
            change sides at one half.

    Raises:
        InvalidInput: If one of them cannot run on the inputs.
    """
    largest = total = relative = 0.0
    count = changed = rows = 0
    for each in inputs:
        expected, found = original.run(each), variant.run(each)
        rows += max((array.shape[0] for array in each.values() if array.shape), default=1)
        for name, array in expected.items():
            if array.dtype.kind != "f":
                continue
            gap = np.abs(found[name].astype(np.float64) - array)
            # Comparisons with NaN must not make it vanish.
            worst = float(np.max(gap, initial=0.0))
            largest = float(np.maximum(largest, worst))
            scale = max(1.0, float(np.max(np.abs(array), initial=0.0)))
            relative = float(np.maximum(relative, worst / scale))
            total += float(gap.sum())
            count += gap.size
            changed += int(np.count_nonzero((found[name] > _HALF) != (array > _HALF)))
    return VariantCard(
        rows=rows,
        max_difference=largest,
        mean_difference=total / count if count else 0.0,
        difference=relative,
        changed=changed / count if is_base and count else None,
    )


def _kinds(model: Any) -> tuple[list[str], list[int]]:
    return (
        [node.op_type for node in model.graph.node],
        [weight.data_type for weight in model.graph.initializer],
    )


def _clipped(array: Array) -> Array:
    """Return 32-bit floats as 16-bit ones; those too large become the largest."""
    most = np.finfo(np.float16).max
    return np.clip(array, -most, most).astype(np.float16)


def _to_half(graph: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(graph, keep_io_types=True)


def _to_int8(graph: Any) -> Any:
    from onnx import shape_inference
    from onnxruntime.quantization import QuantType, quantize_dynamic

    prepared = shape_inference.infer_shapes(graph)
    prepared.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])
    # The quantizer writes nowhere but into a file.
    with tempfile.TemporaryDirectory(prefix="parfocal-variant-") as folder:
        file = Path(folder) / "model.onnx"
        quantize_dynamic(prepared, file, weight_type=QuantType.QUInt8)
        return parsed(file.read_bytes())


def _card(card: CardFields, outputs: Mapping[str, Array], report: VariantCard) -> CardFields:
    tensors = tuple(_with_test(tensor, outputs) for tensor in card.outputs)
    return replace(
        card,
        description=f"{card.description} {report.sentence()}".strip(),
        outputs=tensors,
        variant=report,
    )


def _with_test(tensor: TensorCard, outputs: Mapping[str, Array]) -> TensorCard:
    found = outputs[tensor.name]
    kept = found.reshape(tensor.test.shape) if found.dtype.kind == "f" else tensor.test
    return replace(tensor, test=kept.astype(tensor.test.dtype, copy=False))


def _inaccurate(origin: str, precision: Precision, report: VariantCard, limit: float) -> WrongState:
    return WrongState(
        "ERROR_REASON_VARIANT_INACCURATE",
        f"the {precision} variant of {origin} differs by {report.difference:.3g} of the largest "
        f"value, and {limit:g} is allowed",
        model=origin,
        variant=precision,
        difference=f"{report.difference:.6g}",
        limit=limit,
    )
