"""What is known of an object on one section, summed up in whole numbers.

Whole numbers add up to the same whatever the order, so what is said of an object does not depend
on the blocks it was found in.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Box, Triple

Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Sections:
    """One row for each pair of an object and a section that it is on; all columns int64.

    Attributes:
        label: Id of the object.
        z: The section.
        area: Voxels of the object on it.
        y_sum: Sum of their y.
        x_sum: Sum of their x.
        y_low: Lowest y.
        y_high: Highest y, inclusive.
        x_low: Lowest x.
        x_high: Highest x, inclusive.
        first: Smallest place `(z * Y + y) * X + x` in the image.
        probability_sum: Sum of their probabilities, in 1/255.
        probability_high: Highest probability, in 1/255.
    """

    label: Integers
    z: Integers
    area: Integers
    y_sum: Integers
    x_sum: Integers
    y_low: Integers
    y_high: Integers
    x_low: Integers
    x_high: Integers
    first: Integers
    probability_sum: Integers
    probability_high: Integers

    def __len__(self) -> int:
        return len(self.label)

    def columns(self) -> dict[str, Integers]:
        """Return the columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: npt.NDArray[np.int64 | np.bool_]) -> Self:
        """Return the rows that an index or a mask names."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})

    def relabelled(self, label: Integers) -> Self:
        """Return the rows with other ids, summed up where one id is on one section twice.

        Rows are sorted by id, then section.
        """
        order = np.lexsort((self.z, label))
        label, z = label[order], self.z[order]
        new = np.flatnonzero(np.diff(label, prepend=-1) | np.diff(z, prepend=-1))
        return type(self)(
            label=label[new],
            z=z[new],
            **{
                name: _FOLDS[name].reduceat(column[order], new) if len(new) else column[:0]
                for name, column in self.columns().items()
                if name in _FOLDS
            },
        )

    @classmethod
    def of_block(
        cls,
        labels: Labels,
        probability: npt.NDArray[np.uint8],
        *,
        box: Box,
        shape: Triple,
    ) -> Self:
        """Return the rows of a block.

        Args:
            labels: (z, y, x), 0 is background.
            probability: (z, y, x) uint8 of the same shape.
            box: Where in the image the block lies.
            shape: Of the image (z, y, x).
        """
        inside = np.flatnonzero(labels)
        label = labels.ravel()[inside].astype(np.int64)
        z, y, x = (
            np.asarray(axis, np.int64) + low
            for axis, low in zip(np.unravel_index(inside, labels.shape), box.start, strict=True)
        )
        value = probability.ravel()[inside].astype(np.int64)
        place = (z * shape[1] + y) * shape[2] + x
        voxels = cls(label, z, np.ones_like(z), y, x, y, y, x, x, place, value, value)
        return voxels.relabelled(label)

    @classmethod
    def concatenated(cls, parts: list[Self]) -> Self:
        """Return the rows of all parts, one after the other."""
        empty = np.zeros(0, np.int64)
        return cls(
            **{
                field.name: np.concatenate([empty, *(getattr(part, field.name) for part in parts)])
                for field in fields(cls)
            }
        )


_FOLDS: dict[str, np.ufunc] = {
    "area": np.add,
    "y_sum": np.add,
    "x_sum": np.add,
    "y_low": np.minimum,
    "y_high": np.maximum,
    "x_low": np.minimum,
    "x_high": np.maximum,
    "first": np.minimum,
    "probability_sum": np.add,
    "probability_high": np.maximum,
}
