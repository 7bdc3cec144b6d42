"""What is known about a model besides its graph: the content of a bioimage.io card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from parfocal_runtime.models.datatypes import Array

Kind = Literal["base", "encoder", "other"]
Stream = Literal["", "image", "mask"]
AxisType = Literal["batch", "channel", "index", "space"]
Precision = Literal["fp16", "int8"]

VARIANT_LIMIT = 0.05
"""Largest difference that a variant may show, unless somebody says otherwise."""


@dataclass(frozen=True)
class AxisCard:
    """One axis of a tensor.

    Attributes:
        id: Its name, unique within the tensor: `batch`, `channel`, `z`, `y`, `x`.
        type: What it means.
        size: Its length in the test tensor; 1 or more for a batch.
        fixed: Whether `size` is the only length that the graph takes.
        halo: Voxels at each end of an output axis that the border of the input spoils.
        least: Shortest length of an input axis that is not fixed; 0 is `size`.
        step: Between two lengths of such an axis.
    """

    id: str
    type: AxisType
    size: int
    fixed: bool = True
    halo: int = 0
    least: int = 0
    step: int = 1


@dataclass(frozen=True)
class TensorCard:
    """One input or output.

    Attributes:
        name: Its name in the graph.
        axes: Its axes, outermost first.
        test: What the self-test feeds in, or expects to come out.
    """

    name: str
    axes: tuple[AxisCard, ...]
    test: Array


@dataclass(frozen=True)
class VariantCard:
    """What a copy of a model with fewer bits gave up, as measured when it was made.

    Attributes:
        precision: What it computes with.
        of: Name and version of the original, `base/3`.
        rows: How many rows both were run on.
        max_difference: Largest difference of an output element.
        mean_difference: Mean difference.
        difference: Largest difference, as a share of the output's largest value or of 1.
        changed: Share of voxels whose probability changed sides at one half; None where outputs
            are no probabilities of voxels.
    """

    precision: Precision = "fp16"
    of: str = ""
    rows: int = 0
    max_difference: float = 0.0
    mean_difference: float = 0.0
    difference: float = 0.0
    changed: float | None = None

    def figures(self) -> dict[str, float | int | None]:
        """Return the figures by name."""
        return {
            "rows": self.rows,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "difference": self.difference,
            "changed": self.changed,
        }

    def sentence(self) -> str:
        """Return the figures as a sentence for people."""
        sides = "" if self.changed is None else f", {self.changed:.2%} of voxels change sides at .5"
        return (
            f"The {self.precision} variant of {self.of}: on {self.rows} rows it differs by at most "
            f"{self.max_difference:.3g} and {self.mean_difference:.3g} on average{sides}."
        )


@dataclass(frozen=True)
class CardFields:
    """A model's card.

    Attributes:
        description: One paragraph for people.
        inputs: Inputs in the order of the graph.
        outputs: Outputs in the order of the graph.
        kind: `base` predicts on images, `encoder` turns patches into vectors.
        stream: Which patch an encoder reads; empty for other models.
        voxel_size_nm: Voxel size (z, y, x) in nanometres that a base model was trained at.
        license: SPDX identifier of the weights' licence, if it is known.
        authors: Names of people.
        tile: Sides along the first input's space axes that a base model looks through, where they
            are not those of its test input.
        variant: What it gave up, if it is a variant of another model.
    """

    description: str
    inputs: tuple[TensorCard, ...]
    outputs: tuple[TensorCard, ...]
    kind: Kind = "other"
    stream: Stream = ""
    voxel_size_nm: tuple[float, float, float] | None = None
    license: str = ""
    authors: tuple[str, ...] = ()
    tile: tuple[int, ...] = ()
    variant: VariantCard | None = None

    @property
    def takes_patches(self) -> bool:
        """Whether the model says something of patches: (N, 1, H, W) in, (N, K) out."""
        source, result = self.inputs[0].test.shape, self.outputs[0].test.shape
        return (
            len(self.inputs) == 1
            and len(source) == 4
            and source[1] == 1
            and len(result) == 2
            and result[0] == source[0]
        )

    @property
    def window(self) -> tuple[int, ...]:
        """Sides along the space axes of the first input: (z, y, x) voxels of a base model."""
        return self.tile or tuple(axis.size for axis in self.inputs[0].axes if axis.type == "space")

    @property
    def halo(self) -> tuple[int, ...]:
        """Voxels (z, y, x) at each face of the first output that are worse than the others."""
        return tuple(axis.halo for axis in self.outputs[0].axes if axis.type == "space")


def base_card(
    description: str,
    *,
    test_input: npt.NDArray[np.uint8],
    test_output: npt.NDArray[np.float32],
    halo: tuple[int, int, int],
    voxel_size_nm: tuple[float, float, float],
) -> CardFields:
    """Return the card of a base model: input `image`, output `probability`.

    Args:
        description: One paragraph for people.
        test_input: (N, 1, Z, Y, X) uint8; Z, Y, X are the window, the only size that the graph
            takes.
        test_output: (N, 1, Z, Y, X) float32 in [0, 1], what the graph gives for `test_input`.
        halo: Voxels (z, y, x) at each face of the window that its border spoils.
        voxel_size_nm: Voxel size (z, y, x) in nanometres of the training images.
    """
    return CardFields(
        description=description,
        inputs=(TensorCard("image", _volume_axes(test_input.shape, (0, 0, 0)), test_input),),
        outputs=(TensorCard("probability", _volume_axes(test_output.shape, halo), test_output),),
        kind="base",
        voxel_size_nm=voxel_size_nm,
    )


def encoder_card(
    description: str,
    stream: Stream,
    *,
    test_input: npt.NDArray[np.uint8] | npt.NDArray[np.int8],
    test_output: npt.NDArray[np.float32],
) -> CardFields:
    """Return the card of an encoder: input `patch`, output `embedding`.

    Args:
        description: One paragraph for people.
        stream: Which patch it reads.
        test_input: (N, 1, H, W), uint8 for the image stream, int8 in {-1, 0, 1} for the mask's.
        test_output: (N, d) float32, what the graph gives for `test_input`.
    """
    rows, channels, height, width = test_input.shape
    patch = (
        _batch(rows),
        AxisCard("channel", "channel", channels),
        AxisCard("y", "space", height),
        AxisCard("x", "space", width),
    )
    vector = (_batch(rows), AxisCard("index", "index", test_output.shape[1]))
    return CardFields(
        description=description,
        inputs=(TensorCard("patch", patch, test_input),),
        outputs=(TensorCard("embedding", vector, test_output),),
        kind="encoder",
        stream=stream,
    )


def _volume_axes(shape: tuple[int, ...], halo: tuple[int, int, int]) -> tuple[AxisCard, ...]:
    rows, channels, *sides = shape
    space = (
        AxisCard(name, "space", side, halo=margin)
        for name, side, margin in zip("zyx", sides, halo, strict=True)
    )
    return (_batch(rows), AxisCard("channel", "channel", channels), *space)


def _batch(rows: int) -> AxisCard:
    return AxisCard("batch", "batch", rows, fixed=False)
