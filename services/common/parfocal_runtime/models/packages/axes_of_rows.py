"""Which axes statistics are taken over, in terms of one row of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from parfocal_runtime.models.packages.description import Axis
from parfocal_runtime.models.packages.operations import Axes, Constant
from parfocal_runtime.models.packages.refusals import refused


def statistics_axes(field: str, axes: Sequence[Axis], wanted: Iterable[str] | None) -> Axes:
    """Return positions of the axes that statistics are taken over.

    Args:
        field: The processing, for errors.
        axes: Of the tensor.
        wanted: Ids of axes; None is all but the batch.

    Raises:
        InvalidInput: If the batch is among them: its statistics are those of a dataset, which a
            graph that sees a few rows at a time cannot know (`ERROR_REASON_INVALID_MODEL`).
    """
    if wanted is None:
        return tuple(i for i, axis in enumerate(axes) if axis.type != "batch")
    ids = set(wanted)
    if any(axis.type == "batch" and axis.id in ids for axis in axes):
        raise refused(field, "statistics over a batch or dataset cannot be part of a graph")
    if not ids:
        raise refused(field, "it names no axes")
    return tuple(position(field, axes, axis) for axis in ids)


def position(field: str, axes: Sequence[Axis], wanted: str) -> int:
    """Return the position of an axis.

    Raises:
        InvalidInput: If the tensor has none of that id (`ERROR_REASON_INVALID_MODEL`).
    """
    for i, axis in enumerate(axes):
        if axis.id == wanted:
            return i
    raise refused(field, f"the tensor has no axis {wanted!r}")


def constant(
    field: str, axes: Sequence[Axis], values: float | Sequence[float], axis: int | None
) -> Constant:
    """Return one number, or as many as an axis is long.

    Raises:
        InvalidInput: If there are fewer or more (`ERROR_REASON_INVALID_MODEL`).
    """
    listed = [values] if isinstance(values, int | float) else list(values)
    if len(listed) == 1:
        return Constant((float(listed[0]),))
    if axis is None or axes[axis].size not in (None, len(listed)):
        raise refused(field, f"{len(listed)} numbers do not fit the tensor")
    return Constant(tuple(map(float, listed)), axis)


def reference_name(
    field: str, axes: Sequence[Axis], wanted: str, raw: Mapping[str, Sequence[Axis]]
) -> str:
    """Return the name of the raw input whose statistics are taken instead of a tensor's own.

    Raises:
        InvalidInput: If there is none, or it has other axes (`ERROR_REASON_INVALID_MODEL`).
    """
    if wanted not in raw:
        raise refused(field, f"its reference tensor {wanted!r} is no input of the model")
    if [axis.id for axis in raw[wanted]] != [axis.id for axis in axes]:
        raise refused(field, f"its reference tensor {wanted!r} has other axes")
    return wanted
