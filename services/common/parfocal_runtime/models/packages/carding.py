"""The card of a package: what Parfocal has to know of its model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from parfocal_runtime.models.cards import AxisCard, CardFields, Kind, TensorCard
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.packages.description import Axis, Description, Tensor

_HALOS_OF_A_WINDOW = 8
# What a network keeps of a larger one fills the memory of a laptop.
_MOST_WINDOW_VOXELS = 1 << 22
# A volume, or a single section of one.
_IMAGES = (("batch", "channel", "z", "y", "x"), ("batch", "channel", "y", "x"))


def card_of_package(
    description: Description, inputs: Sequence[Array], outputs: Sequence[Array]
) -> CardFields:
    """Return the card of a package's model.

    A base model looks through windows of the size of its test input. Where the description lets
    an axis grow, the window has at least eight halos: neighbours overlap by a quarter, so each
    voxel is then farther than a halo from the border of some window.

    Args:
        description: Of the package.
        inputs: A test tensor for each input.
        outputs: What the graph gives for them.
    """
    first = dict(
        zip((axis.id for axis in description.inputs[0].axes), inputs[0].shape, strict=True)
    )
    kind = _kind(description, inputs, outputs)
    return CardFields(
        description=description.text,
        inputs=tuple(map(_tensor, description.inputs, inputs)),
        outputs=tuple(
            _tensor(tensor, test, like=first)
            for tensor, test in zip(description.outputs, outputs, strict=True)
        ),
        kind=kind,
        tile=_tile(description, inputs[0]) if kind == "base" else (),
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
    """Return `base` for what predicts one probability for each voxel of a grey image."""
    axes = [
        tuple(axis.id for axis in tensor.axes)
        for tensor in (*description.inputs, *description.outputs)
    ]
    if len(axes) != 2 or axes[0] not in _IMAGES or axes[1] != axes[0]:
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


def _tile(description: Description, test: Array) -> tuple[int, ...]:
    """Return sides of a window that its halo leaves enough of; empty is those of the test input."""
    halos = [axis.halo for axis in description.outputs[0].axes[2:]]
    sides = tuple(
        _length(axis, side, at_least=_HALOS_OF_A_WINDOW * halo)
        for axis, side, halo in zip(
            description.inputs[0].axes[2:], test.shape[2:], halos, strict=True
        )
    )
    is_other = sides != test.shape[2:] and math.prod(sides) <= _MOST_WINDOW_VOXELS
    return sides if is_other else ()


def _length(axis: Axis, side: int, *, at_least: int) -> int:
    if axis.size is not None or side >= at_least:
        return side
    return axis.least + math.ceil((at_least - axis.least) / axis.step) * axis.step


def _voxel_size(axes: Sequence[Axis]) -> tuple[float, float, float] | None:
    sizes = {axis.id: axis.nanometres for axis in axes if axis.nanometres is not None}
    return (sizes["z"], sizes["y"], sizes["x"]) if {"z", "y", "x"} <= sizes.keys() else None
