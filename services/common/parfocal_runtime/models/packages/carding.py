"""The card of a package: what Parfocal has to know of its model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parfocal_runtime.models.cards import AxisCard, CardFields, Kind, TensorCard
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.packages.description import Axis, Description, Tensor

_VOLUME = ("batch", "channel", "z", "y", "x")


def card_of_package(
    description: Description, inputs: Sequence[Array], outputs: Sequence[Array]
) -> CardFields:
    """Return the card of a package's model.

    The window of a base model is the size of its test input: one that is known to work, where
    `min` and `step` of the axes only promise that others do.

    Args:
        description: Of the package.
        inputs: A test tensor for each input.
        outputs: What the graph gives for them.
    """
    first = dict(
        zip((axis.id for axis in description.inputs[0].axes), inputs[0].shape, strict=True)
    )
    return CardFields(
        description=description.text,
        inputs=tuple(map(_tensor, description.inputs, inputs)),
        outputs=tuple(
            _tensor(tensor, test, like=first)
            for tensor, test in zip(description.outputs, outputs, strict=True)
        ),
        kind=_kind(description, inputs, outputs),
        voxel_size_nm=_voxel_size(description.inputs[0].axes),
        license=description.license,
        authors=description.authors,
    )


def _tensor(tensor: Tensor, test: Array, like: dict[str, int] | None = None) -> TensorCard:
    axes = tuple(
        AxisCard(
            axis.id,
            axis.type,
            side,
            fixed=axis.type == "channel" or (axis.type != "batch" and axis.size is not None),
            # The format has a margin only where an output is as long as an input.
            halo=axis.halo if axis.type == "space" and (like or {}).get(axis.id) == side else 0,
            least=axis.least if axis.size is None and axis.least != side else 0,
            step=axis.step,
        )
        for axis, side in zip(tensor.axes, test.shape, strict=True)
    )
    return TensorCard(tensor.name, axes, test)


def _kind(description: Description, inputs: Sequence[Array], outputs: Sequence[Array]) -> Kind:
    """Return `base` for what predicts one probability for each voxel of a grey volume."""
    tensors = (*description.inputs, *description.outputs)
    if len(tensors) != 2 or any(
        tuple(axis.id for axis in tensor.axes) != _VOLUME for tensor in tensors
    ):
        return "other"
    (source,), (result,) = inputs, outputs
    halo = [axis.halo for axis in description.outputs[0].axes[2:]]
    fits = (
        source.shape == result.shape
        and source.shape[1] == 1
        and all(2 * margin < side for margin, side in zip(halo, source.shape[2:], strict=True))
        and np.can_cast(np.uint8, source.dtype)
        and result.dtype.kind == "f"
    )
    return "base" if fits and result.min() >= 0 and result.max() <= 1 else "other"


def _voxel_size(axes: Sequence[Axis]) -> tuple[float, float, float] | None:
    sizes = {axis.id: axis.nanometres for axis in axes if axis.nanometres is not None}
    return (sizes["z"], sizes["y"], sizes["x"]) if {"z", "y", "x"} <= sizes.keys() else None
