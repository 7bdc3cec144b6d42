"""Format version 0.5: typed axes, processing by `id`.

Source: https://github.com/bioimage-io/spec-bioimage-io, `bioimageio.spec.model.v0_5`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parfocal_runtime.models.cards import AxisType
from parfocal_runtime.models.packages.axes_of_rows import (
    constant,
    position,
    reference_name,
    statistics_axes,
)
from parfocal_runtime.models.packages.description import (
    Axis,
    Description,
    SourceFile,
    Tensor,
    Tolerance,
)
from parfocal_runtime.models.packages.operations import (
    Axes,
    Binarize,
    Clip,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    Operation,
    Percentile,
    ScaleLinear,
    ScaleMeanVariance,
    ScaleRange,
    Sigmoid,
    Softmax,
    ZeroMeanUnitVariance,
)
from parfocal_runtime.models.packages.origin import origin_of
from parfocal_runtime.models.packages.refusals import refused

_TYPES: dict[str, AxisType] = {"batch": "batch", "channel": "channel", "space": "space"}
_NANOMETRES = {
    "angstrom": 0.1,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
    "centimeter": 1e7,
    "meter": 1e9,
}


def description(described: Any, written: Mapping[str, Any]) -> Description:
    """Return what a description means.

    Args:
        described: A `bioimageio.spec.model.v0_5.ModelDescr`.
        written: The YAML that it was made of.

    Raises:
        InvalidInput: If it has what cannot be part of a graph (`ERROR_REASON_INVALID_MODEL`).
    """
    weights = described.weights.onnx
    external = getattr(weights, "external_data", None)
    axes = {str(tensor.id): _axes(tensor) for tensor in described.inputs}
    return Description(
        name=str(described.name),
        text=str(described.description or described.name),
        inputs=tuple(
            _tensor(tensor, f"inputs.{i}", _steps(tensor.preprocessing, written["inputs"][i]), axes)
            for i, tensor in enumerate(described.inputs)
        ),
        outputs=tuple(
            _tensor(
                tensor,
                f"outputs.{i}",
                list(enumerate(tensor.postprocessing)),
                axes,
                tolerance=_tolerance(described, tensor),
            )
            for i, tensor in enumerate(described.outputs)
        ),
        weights=_file(weights),
        external_data=() if external is None else (_file(external),),
        license=str(described.license or ""),
        authors=tuple(str(author.name) for author in described.authors),
        origin=origin_of(described, written),
    )


def _tensor(
    tensor: Any,
    field: str,
    steps: Sequence[tuple[int, Any]],
    raw: Mapping[str, Sequence[Axis]],
    *,
    tolerance: Tolerance | None = None,
) -> Tensor:
    if tensor.test_tensor is None:
        raise refused(f"{field}.test_tensor", "there is none, so nothing could be checked")
    axes = _axes(tensor)
    role = "preprocessing" if field.startswith("inputs") else "postprocessing"
    return Tensor(
        name=str(tensor.id),
        axes=axes,
        dtype=str(tensor.dtype),
        test=_file(tensor.test_tensor),
        processing=tuple(
            _operation(step, f"{field}.{role}.{i}.{step.id}", axes, raw) for i, step in steps
        ),
        tolerance=tolerance or Tolerance(),
    )


def _steps(steps: Sequence[Any], written: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Return the steps that somebody wrote down, by their position.

    The library adds casts to the raw tensor's type at both ends. The first changes nothing here,
    and the last would be wrong for a graph that wants another type: its own counts.
    """
    names = [step.get("id") for step in written.get("preprocessing") or ()]
    added = len(steps) > len(names) and (not names or names[0] != "ensure_dtype")
    return list(enumerate(steps[int(added) :][: len(names)]))


def _axes(tensor: Any) -> tuple[Axis, ...]:
    return tuple(_axis(axis) for axis in tensor.axes)


def _axis(axis: Any) -> Axis:
    size = axis.size
    scale, unit = getattr(axis, "scale", 1.0), str(getattr(axis, "unit", None) or "")
    return Axis(
        id=str(axis.id),
        type=_TYPES.get(axis.type, "index"),
        size=size if isinstance(size, int) else None,
        least=int(getattr(size, "min", 1)),
        step=int(getattr(size, "step", 1)),
        halo=int(getattr(axis, "halo", 0)),
        nanometres=scale * _NANOMETRES[unit] if unit in _NANOMETRES else None,
    )


def _operation(
    step: Any, field: str, axes: Sequence[Axis], raw: Mapping[str, Sequence[Axis]]
) -> Operation:
    kwargs = step.kwargs
    along = position(field, axes, str(kwargs.axis)) if getattr(kwargs, "axis", None) else None
    match step.id:
        case "binarize":
            return Binarize(constant(field, axes, kwargs.threshold, along))
        case "clip":
            return Clip(_bound("min", kwargs, field, axes), _bound("max", kwargs, field, axes))
        case "ensure_dtype":
            return EnsureDtype(kwargs.dtype)
        case "scale_linear":
            return ScaleLinear(
                constant(field, axes, kwargs.gain, along),
                constant(field, axes, kwargs.offset, along),
            )
        case "sigmoid":
            return Sigmoid()
        case "softmax":
            return Softmax(position(field, axes, str(kwargs.axis)))
        case "fixed_zero_mean_unit_variance":
            return FixedZeroMeanUnitVariance(
                constant(field, axes, kwargs.mean, along), constant(field, axes, kwargs.std, along)
            )
        case "zero_mean_unit_variance":
            return ZeroMeanUnitVariance(_reduced(field, axes, kwargs), kwargs.eps)
        case "scale_range":
            reduced = _reduced(field, axes, kwargs)
            return ScaleRange(
                Percentile(kwargs.min_percentile, reduced),
                Percentile(kwargs.max_percentile, reduced),
                kwargs.eps,
                None
                if kwargs.reference_tensor is None
                else reference_name(field, axes, str(kwargs.reference_tensor), raw),
            )
        case "scale_mean_variance":
            reference = reference_name(field, axes, str(kwargs.reference_tensor), raw)
            return ScaleMeanVariance(reference, _reduced(field, axes, kwargs), kwargs.eps)
        case _:
            raise refused(field, f"{step.id} cannot be part of a graph")


def _bound(which: str, kwargs: Any, field: str, axes: Sequence[Axis]) -> float | Percentile | None:
    share = getattr(kwargs, f"{which}_percentile", None)
    if share is not None:
        return Percentile(share, _reduced(field, axes, kwargs), "inverted_cdf")
    limit = getattr(kwargs, which)
    return None if limit is None else float(limit)


def _reduced(field: str, axes: Sequence[Axis], kwargs: Any) -> Axes:
    return statistics_axes(field, axes, None if kwargs.axes is None else map(str, kwargs.axes))


def _file(file: Any) -> SourceFile:
    source = file.source
    return SourceFile(str(getattr(source, "root", source)), str(file.sha256 or ""))


def _tolerance(described: Any, tensor: Any) -> Tolerance:
    """Return what the description says of an output, the first that applies."""
    kind = "any_continuous_output" if "float" in str(tensor.dtype) else "any_discrete_output"
    for said in described.config.bioimageio.reproducibility_tolerance:
        ids = [said.output_ids] if isinstance(said.output_ids, str) else map(str, said.output_ids)
        named = list(ids)
        if said.weights_formats and "onnx" not in said.weights_formats:
            continue
        if not named or str(tensor.id) in named or kind in named:
            return Tolerance(
                float(said.relative_tolerance),
                float(said.absolute_tolerance),
                float(said.mismatched_elements_per_million),
            )
    return Tolerance()
