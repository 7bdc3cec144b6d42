"""Format version 0.4: axes as letters, processing by `name`.

Source: https://github.com/bioimage-io/spec-bioimage-io, `bioimageio.spec.model.v0_4`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parfocal_runtime.models.cards import AxisType
from parfocal_runtime.models.packages.axes_of_rows import constant, reference_name, statistics_axes
from parfocal_runtime.models.packages.description import Axis, Description, SourceFile, Tensor
from parfocal_runtime.models.packages.operations import (
    Axes,
    Binarize,
    Clip,
    FixedZeroMeanUnitVariance,
    Operation,
    Percentile,
    ScaleLinear,
    ScaleMeanVariance,
    ScaleRange,
    Sigmoid,
    ZeroMeanUnitVariance,
)
from parfocal_runtime.models.packages.origin import origin_of
from parfocal_runtime.models.packages.refusals import refused

_IDS = {"b": "batch", "c": "channel", "i": "index", "t": "time"}
_TYPES: dict[str, AxisType] = {
    "b": "batch",
    "c": "channel",
    "z": "space",
    "y": "space",
    "x": "space",
}


def description(described: Any, written: Mapping[str, Any]) -> Description:
    """Return what a description means.

    Args:
        described: A `bioimageio.spec.model.v0_4.ModelDescr`.
        written: The YAML that it was made of.

    Raises:
        InvalidInput: If it has what cannot be part of a graph (`ERROR_REASON_INVALID_MODEL`).
    """
    for role in ("inputs", "outputs"):
        for i, tensor in enumerate(getattr(described, role)):
            _check_lengths(f"{role}.{i}", tensor)
    raw = {str(tensor.name): _input_axes(tensor) for tensor in described.inputs}
    weights = described.weights.onnx
    return Description(
        name=str(described.name),
        text=str(described.description or described.name),
        inputs=tuple(
            Tensor(
                name=str(tensor.name),
                axes=raw[str(tensor.name)],
                dtype=str(tensor.data_type),
                test=_test("test_inputs", described.test_inputs, i),
                processing=_operations(f"inputs.{i}.preprocessing", tensor, "preprocessing", raw),
            )
            for i, tensor in enumerate(described.inputs)
        ),
        outputs=tuple(
            Tensor(
                name=str(tensor.name),
                axes=_output_axes(tensor),
                dtype=str(tensor.data_type),
                test=_test("test_outputs", described.test_outputs, i),
                processing=_operations(
                    f"outputs.{i}.postprocessing", tensor, "postprocessing", raw
                ),
            )
            for i, tensor in enumerate(described.outputs)
        ),
        weights=SourceFile(_source(weights.source), str(weights.sha256 or "")),
        license=str(described.license or ""),
        authors=tuple(str(author.name) for author in described.authors),
        origin=origin_of(described, written),
    )


def _check_lengths(field: str, tensor: Any) -> None:
    shape = tensor.shape
    lists = {
        "shape": None if hasattr(shape, "reference_tensor") else getattr(shape, "min", shape),
        "shape.step": getattr(shape, "step", None),
        "halo": getattr(tensor, "halo", None),
    }
    for name, numbers in lists.items():
        # An empty halo is none.
        if numbers and len(numbers) != len(tensor.axes):
            raise refused(f"{field}.{name}", f"{len(numbers)} numbers for axes {tensor.axes}")


def _test(field: str, files: Sequence[Any], position: int) -> SourceFile:
    if position >= len(files):
        raise refused(field, "there are fewer than tensors, so not all could be checked")
    return SourceFile(_source(files[position]))


def _source(source: Any) -> str:
    return str(getattr(source, "root", source))


def _input_axes(tensor: Any) -> tuple[Axis, ...]:
    least = getattr(tensor.shape, "min", tensor.shape)
    steps = getattr(tensor.shape, "step", [0] * len(least))
    return tuple(
        _axis(letter, size=None if step else side, least=side, step=max(step, 1))
        for letter, side, step in zip(tensor.axes, least, steps, strict=True)
    )


def _output_axes(tensor: Any) -> tuple[Axis, ...]:
    # A shape that refers to an input is known when the test tensors are.
    is_known = not hasattr(tensor.shape, "reference_tensor")
    sides = tensor.shape if is_known else [None] * len(tensor.axes)
    halo = tensor.halo or [0] * len(tensor.axes)
    return tuple(
        _axis(letter, size=side, halo=margin)
        for letter, side, margin in zip(tensor.axes, sides, halo, strict=True)
    )


def _axis(letter: str, *, size: int | None, least: int = 1, step: int = 1, halo: int = 0) -> Axis:
    if letter == "b":
        return Axis("batch", "batch")
    kind = _TYPES.get(letter, "index")
    return Axis(_IDS.get(letter, letter), kind, size=size, least=least, step=step, halo=halo)


def _operations(
    field: str, tensor: Any, role: str, raw: Mapping[str, Sequence[Axis]]
) -> tuple[Operation, ...]:
    axes = _input_axes(tensor) if role == "preprocessing" else _output_axes(tensor)
    return tuple(
        _operation(step, f"{field}.{i}.{step.name}", axes, raw)
        for i, step in enumerate(getattr(tensor, role))
    )


def _operation(
    step: Any, field: str, axes: Sequence[Axis], raw: Mapping[str, Sequence[Axis]]
) -> Operation:
    kwargs = step.kwargs
    match step.name:
        case "binarize":
            return Binarize(constant(field, axes, kwargs.threshold, None))
        case "clip":
            return Clip(float(kwargs.min), float(kwargs.max))
        case "scale_linear":
            along = _other_axis(axes, kwargs.axes)
            return ScaleLinear(
                constant(field, axes, kwargs.gain, along),
                constant(field, axes, kwargs.offset, along),
            )
        case "sigmoid":
            return Sigmoid()
        case "zero_mean_unit_variance" if kwargs.mode == "fixed":
            along = _other_axis(axes, kwargs.axes)
            return FixedZeroMeanUnitVariance(
                constant(field, axes, kwargs.mean, along), constant(field, axes, kwargs.std, along)
            )
        case "zero_mean_unit_variance":
            return ZeroMeanUnitVariance(_reduced(field, axes, kwargs), kwargs.eps)
        case "scale_range":
            reduced = _reduced(field, axes, kwargs)
            reference = kwargs.reference_tensor
            return ScaleRange(
                Percentile(float(kwargs.min_percentile), reduced),
                Percentile(float(kwargs.max_percentile), reduced),
                kwargs.eps,
                None if reference is None else reference_name(field, axes, str(reference), raw),
            )
        case "scale_mean_variance":
            reference = reference_name(field, axes, str(kwargs.reference_tensor), raw)
            return ScaleMeanVariance(reference, _reduced(field, axes, kwargs), kwargs.eps)
        case _:
            raise refused(field, f"{step.name} cannot be part of a graph")


def _reduced(field: str, axes: Sequence[Axis], kwargs: Any) -> Axes:
    if kwargs.mode != "per_sample":
        raise refused(field, f"mode {kwargs.mode}: statistics of a dataset are not in the package")
    wanted = None if kwargs.axes is None else [_IDS.get(letter, letter) for letter in kwargs.axes]
    return statistics_axes(field, axes, wanted)


def _other_axis(axes: Sequence[Axis], joint: str | None) -> int | None:
    """Return the one axis besides the batch along which numbers differ, if there is just one."""
    if joint is None:
        return None
    ids = {_IDS.get(letter, letter) for letter in joint}
    others = [i for i, axis in enumerate(axes) if axis.type != "batch" and axis.id not in ids]
    return others[0] if len(others) == 1 else None
