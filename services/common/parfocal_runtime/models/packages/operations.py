"""Pre- and post-processing of bioimage.io, freed of the spelling of either format version.

Axes are positions in the tensor. Statistics are those of one row of the batch: what else is in
a batch is chance, and must not change a row's result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Constant:
    """One number, or one for each position along an axis.

    Attributes:
        values: The numbers; a single one counts everywhere.
        axis: The axis along which they lie; None where there is only one.
    """

    values: tuple[float, ...]
    axis: int | None = None


@dataclass(frozen=True)
class Percentile:
    """The percentile of a tensor.

    The format does not say how one is taken between two elements; bioimageio.core, which made
    the test tensors of most packages, interpolates to scale and takes an element to clip.

    Attributes:
        q: In [0, 100].
        axes: Axes that are reduced; all others are kept.
        method: As in `numpy.percentile`.
    """

    q: float
    axes: Axes
    method: Literal["linear", "inverted_cdf"] = "linear"


@dataclass(frozen=True)
class Binarize:
    """`x > threshold`, as 1 and 0."""

    threshold: Constant


@dataclass(frozen=True)
class Clip:
    """Values below `low` become `low`, values above `high` become `high`; None is no limit."""

    low: float | Percentile | None
    high: float | Percentile | None


@dataclass(frozen=True)
class EnsureDtype:
    """Cast to an element type, by numpy's name."""

    dtype: str


@dataclass(frozen=True)
class ScaleLinear:
    """`gain * x + offset`."""

    gain: Constant
    offset: Constant


@dataclass(frozen=True)
class Sigmoid:
    """`1 / (1 + exp(-x))`."""


@dataclass(frozen=True)
class Softmax:
    """`exp(x) / sum(exp(x))` along an axis."""

    axis: int


@dataclass(frozen=True)
class FixedZeroMeanUnitVariance:
    """`(x - mean) / std` with numbers that are known beforehand."""

    mean: Constant
    std: Constant


@dataclass(frozen=True)
class ZeroMeanUnitVariance:
    """`(x - mean) / (std + eps)` with the moments over `axes` of the tensor itself."""

    axes: Axes
    eps: float


@dataclass(frozen=True)
class ScaleRange:
    """`(x - low) / (high - low + eps)` with percentiles.

    Attributes:
        low: Lower percentile.
        high: Upper percentile.
        eps: Keeps the quotient finite.
        reference: Name of the raw input tensor whose percentiles count; None is the tensor itself.
    """

    low: Percentile
    high: Percentile
    eps: float
    reference: str | None = None


@dataclass(frozen=True)
class ScaleMeanVariance:
    """`(x - mean) / (std + eps) * (reference std + eps) + reference mean`, moments over `axes`.

    Attributes:
        reference: Name of the raw input tensor whose moments are matched.
        axes: Axes that are reduced.
        eps: Keeps the quotient finite.
    """

    reference: str
    axes: Axes
    eps: float


Operation = (
    Binarize
    | Clip
    | EnsureDtype
    | ScaleLinear
    | Sigmoid
    | Softmax
    | FixedZeroMeanUnitVariance
    | ZeroMeanUnitVariance
    | ScaleRange
    | ScaleMeanVariance
)
"""Any of them; each is one `id` of the format.

Source: https://github.com/bioimage-io/spec-bioimage-io, `bioimageio.spec.model.v0_5`.
"""
