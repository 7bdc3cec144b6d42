"""What the description of a package says, freed of the spelling of either format version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parfocal_runtime.models.cards import AxisType
from parfocal_runtime.models.packages.operations import Operation


@dataclass(frozen=True)
class SourceFile:
    """A file that a description names.

    Attributes:
        source: Its path inside the package.
        sha256: What its content must hash to; empty if the description does not say.
    """

    source: str
    sha256: str = ""


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    Attributes:
        id: Its name: `batch`, `channel`, `z`, `y`, `x`, `time`, ...
        type: What it means; `time` counts as an index.
        size: The only length it takes; None where it takes several.
        least: Shortest length of an input axis that takes several.
        step: Between two lengths of such an axis.
        halo: Voxels at each end of an output axis that the border of the input spoils.
        nanometres: Between two voxels; None if the description does not say.
    """

    id: str
    type: AxisType
    size: int | None = None
    least: int = 1
    step: int = 1
    halo: int = 0
    nanometres: float | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from the test tensor.

    Attributes:
        relative: As a share of the expected value.
        absolute: In units of the output.
        mismatched_per_million: Elements of a million that may be farther.
    """

    relative: float = 1e-3
    absolute: float = 1e-3
    mismatched_per_million: float = 100.0


@dataclass(frozen=True)
class Tensor:
    """An input or output as a user of the package sees it: raw, or processed.

    Attributes:
        name: Its id.
        axes: Its axes, outermost first.
        dtype: Element type, by numpy's name.
        test: Its test tensor.
        processing: What is done to an input before the graph, to an output after it.
        tolerance: How well an output must be reproduced.
    """

    name: str
    axes: tuple[Axis, ...]
    dtype: str
    test: SourceFile
    processing: tuple[Operation, ...] = ()
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True)
class Description:
    """A package's description.

    Attributes:
        name: What people call the model.
        text: One paragraph for people.
        inputs: Inputs in the order of the graph.
        outputs: Outputs in the order of the graph.
        weights: The ONNX file.
        external_data: Files with weights that lie outside of it, by path.
        license: SPDX identifier; empty if unknown.
        authors: Names of people.
        origin: What else is known of where it comes from, as JSON holds it.
    """

    name: str
    text: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: SourceFile
    external_data: tuple[SourceFile, ...] = ()
    license: str = ""
    authors: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
