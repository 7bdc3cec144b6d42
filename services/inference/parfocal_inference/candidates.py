"""From objects to candidates: which count, which section stands for each, and their table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parfocal_inference.objects import Objects
from parfocal_inference.patches import Place
from parfocal_inference.sections import Integers
from parfocal_runtime.box import Box

SCHEMA = pa.schema(
    [
        ("candidate", pa.int64()),
        ("source", pa.int32()),
        *((name, pa.int32()) for name in ("z0", "y0", "x0", "z1", "y1", "x1", "slice")),
        *((name, pa.float32()) for name in ("cz", "cy", "cx")),
        ("voxels", pa.int64()),
        ("area", pa.int32()),
        *(
            (name, pa.float32())
            for name in ("angle", "mean_probability", "max_probability", "anisotropy")
        ),
    ]
)
"""Columns of the candidate table.

`candidate` is the row, `source` the image it is in, `z0` to `x1` its half-open box, `slice` the
section that stands for it, `cz`, `cy`, `cx` the mean of its voxels' indices, `area` its voxels on
that section, `angle` the degrees that its patch was turned by (counter-clockwise as displayed, NaN
where it was not), probabilities 0 to 1 over all its voxels, `anisotropy` the long axis on the
section over the short one.
"""


class SliceRule(Enum):
    """Which section of an object stands for it."""

    LARGEST_AREA = "largest-area"
    """The one with most voxels; the lowest of equals."""
    NEAREST_CENTER = "nearest-center"
    """The one nearest to the middle of the box; the lower of equals."""


@dataclass(frozen=True)
class Eligibility:
    """Where a candidate's centroid must lie.

    Attributes:
        region: Inside this box; None is anywhere.
        exclude: In none of these.
    """

    region: Box | None = None
    exclude: tuple[Box, ...] = ()

    def mask(self, objects: Objects) -> npt.NDArray[np.bool_]:
        """Return (N,) which objects may be candidates."""
        keep = np.ones(len(objects), bool)
        if self.region is not None:
            keep &= _inside(objects.centroid, self.region)
        for box in self.exclude:
            keep &= ~_inside(objects.centroid, box)
        return keep


def standing_sections(objects: Objects, rule: SliceRule) -> Integers:
    """Return (N,) the row of `objects.sections` that stands for each object."""
    sections = objects.sections
    if rule is SliceRule.LARGEST_AREA:
        worse = -sections.area
    else:
        twice_middle = objects.start[:, 0] + objects.stop[:, 0] - 1
        worse = np.abs(2 * sections.z - twice_middle[sections.label])
    order = np.lexsort((sections.z, worse, sections.label))
    first = np.flatnonzero(np.diff(sections.label[order], prepend=-1))
    return order[first]


def places(objects: Objects, standing: Integers, *, first_label: int) -> Iterator[Place]:
    """Yield where each object is on the section that stands for it.

    Args:
        objects: The objects.
        standing: (N,) rows of `objects.sections`.
        first_label: What the label array holds inside the first object.
    """
    rows = objects.sections.take(standing)
    # Half up, so that the pixel does not depend on which of two is even.
    y, x = ((2 * total + rows.area) // (2 * rows.area) for total in (rows.y_sum, rows.x_sum))
    columns = (rows.z, y, x, rows.y_low, rows.x_low, rows.y_high + 1, rows.x_high + 1)
    for row, place in enumerate(np.stack(columns, axis=1)):
        z, centre_y, centre_x, y_low, x_low, y_high, x_high = place.tolist()
        yield Place(
            label=first_label + row,
            z=z,
            centre=(centre_y, centre_x),
            low=(y_low, x_low),
            high=(y_high, x_high),
        )


def candidate_rows(
    objects: Objects,
    standing: Integers,
    *,
    angle: npt.NDArray[np.float32],
    anisotropy: npt.NDArray[np.float32],
    source: int,
    first: int,
) -> pa.Table:
    """Return the rows of the candidate table for the objects of one image.

    Args:
        objects: The objects.
        standing: (N,) rows of `objects.sections`.
        angle: (N,) degrees that the patch of each was turned by, NaN where it was not.
        anisotropy: (N,) long axis over short one.
        source: Number of the image.
        first: Id of the first candidate.
    """
    count = len(objects)
    boxes = np.concatenate([objects.start, objects.stop], axis=1)
    columns = {
        "candidate": np.arange(first, first + count),
        "source": np.full(count, source),
        **{name: boxes[:, at] for at, name in enumerate(("z0", "y0", "x0", "z1", "y1", "x1"))},
        "slice": objects.sections.z[standing],
        **{name: objects.centroid[:, at] for at, name in enumerate(("cz", "cy", "cx"))},
        "voxels": objects.voxels,
        "area": objects.sections.area[standing],
        "angle": angle,
        "mean_probability": objects.mean_probability,
        "max_probability": objects.max_probability,
        "anisotropy": anisotropy,
    }
    return pa.table(
        [
            pa.array(columns[field.name].astype(field.type.to_pandas_dtype()), field.type)
            for field in SCHEMA
        ],
        schema=SCHEMA,
    )


def _inside(centroid: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.bool_]:
    inside = (centroid >= box.start) & (centroid < box.stop)
    return np.asarray(inside.all(axis=1))
