"""Connected components of a probability map that is read block by block.

The result equals labelling the whole map at once. A first pass labels each block, joins labels
across block faces and sums up what is known of each object; a second pass labels the blocks again
and hands out the final ids. No array of the whole map is held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from typing import Literal

import cc3d
import numpy as np
import numpy.typing as npt

from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.objects import Objects, objects_of
from parfocal_inference.reading import Read
from parfocal_inference.sections import Integers, Labels, Sections
from parfocal_inference.stitching import Offset, Stitcher
from parfocal_runtime.box import Box, Triple

NeighbourCount = Literal[4, 6, 8, 18, 26]


class Connectivity(Enum):
    """Which voxels touch: the number of neighbours, in a section or in the volume."""

    PLANAR_4 = "planar-4"
    PLANAR_8 = "planar-8"
    VOLUME_6 = "volume-6"
    VOLUME_18 = "volume-18"
    VOLUME_26 = "volume-26"

    @property
    def is_planar(self) -> bool:
        """Whether sections are labelled each for itself."""
        return self in (Connectivity.PLANAR_4, Connectivity.PLANAR_8)

    @property
    def count(self) -> NeighbourCount:
        """Number of neighbours of a voxel."""
        counts: dict[Connectivity, NeighbourCount] = {
            Connectivity.PLANAR_4: 4,
            Connectivity.PLANAR_8: 8,
            Connectivity.VOLUME_6: 6,
            Connectivity.VOLUME_18: 18,
            Connectivity.VOLUME_26: 26,
        }
        return counts[self]

    def neighbours(self) -> list[Offset]:
        """Return the offsets (z, y, x) of the neighbours of a voxel."""
        reach = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}[self.count]
        return [
            (z, y, x)
            for z, y, x in product((-1, 0, 1), repeat=3)
            if 0 < abs(z) + abs(y) + abs(x) <= reach and not (self.is_planar and z)
        ]


@dataclass(frozen=True)
class ComponentRule:
    """What makes an object of a probability map.

    Attributes:
        threshold: A voxel belongs to an object where its value is greater than
            `floor(255 threshold)`; above 0 and below 1.
        connectivity: Which voxels touch.
        minimum_voxels: Smaller objects are dropped, after stitching.
    """

    threshold: float = 0.5
    connectivity: Connectivity = Connectivity.PLANAR_8
    minimum_voxels: int = 30


@dataclass(frozen=True)
class Components:
    """The objects of a probability map, and what it takes to label its blocks again.

    Attributes:
        objects: The objects that are large enough.
        shape: Of the map (z, y, x).
        block: Shape of the blocks.
        rule: What made the objects.
        ids: (M + 1,) the row of the object, plus 1, that each of the M labels of the first pass
            belongs to; 0 where it was dropped.
        offsets: Number of labels before each block.
    """

    objects: Objects
    shape: Triple
    block: Triple
    rule: ComponentRule
    ids: Integers
    offsets: tuple[int, ...]

    def where(self, keep: npt.NDArray[np.bool_]) -> Components:
        """Return the components without the objects that a mask (N,) does not name."""
        rows = np.concatenate([[0], np.where(keep, np.cumsum(keep), 0)])
        return replace(self, objects=self.objects.where(keep), ids=rows[self.ids])


def find_components(
    read: Read,
    shape: Triple,
    *,
    rule: ComponentRule,
    block: Triple,
    cancel: Cancellation = UNCANCELLED,
) -> Components:
    """Return the components of a probability map: the first pass over its blocks.

    Args:
        read: Reads the map (z, y, x) uint8.
        shape: Of the map.
        rule: What makes an object.
        block: Shape of the blocks to read; the result does not depend on it.
        cancel: Asked between blocks.
    """
    stitcher = Stitcher(rule.connectivity.neighbours(), block)
    parts, offsets, count = [], [], 0
    for box in Box.whole(shape).blocks(block):
        cancel.check()
        probability = read(box)
        labels = _label(probability, rule)
        stitcher.add(box, labels, offset=count)
        sections = Sections.of_block(labels, probability, box=box, shape=shape)
        parts.append(sections.relabelled(sections.label + count))
        offsets.append(count)
        count += int(labels.max(initial=0))
    roots = stitcher.roots(count)
    sections = Sections.concatenated(parts)
    objects, kept = objects_of(
        _large_enough(sections.relabelled(roots[sections.label]), rule.minimum_voxels)
    )
    ids_of_roots = np.zeros(count + 1, np.int64)
    ids_of_roots[kept] = np.arange(1, len(objects) + 1)
    ids = ids_of_roots[roots]
    ids[0] = 0
    return Components(objects, shape, block, rule, ids, tuple(offsets))


def labelled_blocks(
    read: Read, components: Components, *, cancel: Cancellation = UNCANCELLED
) -> Iterator[tuple[Box, Integers]]:
    """Yield each block with its labels: the second pass.

    Yields:
        The box, and (z, y, x) int64 the row of the object plus 1, or 0.
    """
    boxes = Box.whole(components.shape).blocks(components.block)
    for box, offset in zip(boxes, components.offsets, strict=True):
        cancel.check()
        labels = _label(read(box), components.rule)
        ids = components.ids[offset : offset + int(labels.max(initial=0)) + 1].copy()
        ids[0] = 0
        yield box, ids[labels]


def _label(probability: npt.NDArray[np.uint8], rule: ComponentRule) -> Labels:
    """Return (z, y, x) the components of a block, from 1, and 0 for background."""
    mask = probability > math.floor(255 * rule.threshold)
    if not rule.connectivity.is_planar:
        return _connected(mask, rule.connectivity.count)
    labels = np.zeros(mask.shape, np.uint32)
    count = 0
    for section, out in zip(mask, labels, strict=True):
        found = _connected(section, rule.connectivity.count)
        out[:] = np.where(found, found + count, 0)
        count += int(found.max(initial=0))
    return labels


def _connected(mask: npt.NDArray[np.bool_], count: NeighbourCount) -> Labels:
    # What cc3d 4.1 does for booleans is wrong: with 8 neighbours it labels background, with 26 it
    # can run out of labels. Small numbers take another way, as fast.
    numbers = mask.view(np.uint8)
    return np.asarray(cc3d.connected_components(numbers, connectivity=count), np.uint32)


def _large_enough(sections: Sections, minimum: int) -> Sections:
    rows = np.flatnonzero(np.diff(sections.label, prepend=-1))
    if not len(rows):
        return sections
    sizes = np.add.reduceat(sections.area, rows)
    spans = np.diff(rows, append=len(sections))
    return sections.take(np.repeat(sizes >= minimum, spans))
