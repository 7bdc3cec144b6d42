"""Coverage of sub-volumes: windows of patches that speak for as many other patches as possible.

The coverage-based greedy selection released with a semi-supervised pipeline for volume EM (the
successor of SSNS-Net: W. Huang et al., Semi-Supervised Neuron Segmentation via Reinforced
Consistency Learning, IEEE TMI 2022). Greedy covering is within 1 - 1/e of the best for windows of
one size (G. Nemhauser, L. Wolsey, M. Fisher, Mathematical Programming 1978).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.covering import cover_greedily
from parfocal_suggestion.limits import SLACK
from parfocal_suggestion.neighbours import nearest_neighbours
from parfocal_suggestion.nesting import inner_strategies
from parfocal_suggestion.pool import Floats, Ids, Pool, Rows
from parfocal_suggestion.selection import Checkpoint, Selection, Strategy, no_checkpoint
from parfocal_suggestion.similarity import unit
from parfocal_suggestion.subvolumes import Triple, Windows

DEFAULT_NEIGHBOURS = 30
_PLACES_PER_PATCH = 64
_REMEMBERED = ("window_z", "window_y", "window_x", "most_overlap", "most_voxels", "most_minutes")


@dataclass(frozen=True)
class Coverage:
    """Again and again take the window whose patches have the most neighbours not covered yet.

    A patch covers the patches nearest to it in the features, itself included: exactly so many,
    equals by id. Labelled and pending patches cover from the start. A window is chosen by its
    first patch; all its patches must be in the pool and free, and no two windows share one. Equals
    go in raster order, first come first. Without positions the patches are a line in order of id.

    Attributes:
        stream: Features to measure in; the first stream of the pool if empty.
        normalise: Compare directions only: features are scaled to length 1.
        neighbours: Patches that each covers, or 0 for 30; all where there are fewer.
        window_z: Patches of a window along z, or 0 for 1.
        window_y: The same along y.
        window_x: The same along x.
        z_measure: Measure with the voxel where each patch starts along z, or empty.
        y_measure: The same along y.
        x_measure: The same along x.
        patch_z: Voxels of a patch along z, or 0 for 1.
        patch_y: The same along y.
        patch_x: The same along x.
        most_overlap: Largest share of a sub-volume's voxels in one chosen before; 0 is no limit.
        most_voxels: Voxels of all sub-volumes together at most; 0 is no limit.
        most_minutes: Minutes that all together may take at most; 0 is no limit.
        voxels_per_minute: How many voxels a person annotates in a minute.
        last_of_equals: Take the last of equals in raster order, as first released.
    """

    stream: str = ""
    normalise: bool = False
    neighbours: int = 0
    window_z: int = 0
    window_y: int = 0
    window_x: int = 0
    z_measure: str = ""
    y_measure: str = ""
    x_measure: str = ""
    patch_z: int = 0
    patch_y: int = 0
    patch_x: int = 0
    most_overlap: float = 0.0
    most_voxels: int = 0
    most_minutes: float = 0.0
    voxels_per_minute: float = 0.0
    last_of_equals: bool = False

    name: ClassVar[str] = "coverage"
    version: ClassVar[str] = "2"
    summary: ClassVar[str] = "windows of patches that cover the most others, greedily"
    reference: ClassVar[str] = "Nemhauser, Wolsey and Fisher, 1978"
    score: ClassVar[str] = "patches newly covered"
    needs_features: ClassVar[bool] = True
    needs_probabilities: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False
    needs_measure: ClassVar[bool] = False

    def resolved(self, pool: Pool, budget: int) -> Self:
        """Name the stream and fill in neighbours, window and patch."""
        return replace(
            self,
            stream=self.stream or next(iter(pool.streams), ""),
            neighbours=self.neighbours or DEFAULT_NEIGHBOURS,
            window_z=self.window_z or 1,
            window_y=self.window_y or 1,
            window_x=self.window_x or 1,
            patch_z=self.patch_z or 1,
            patch_y=self.patch_y or 1,
            patch_x=self.patch_x or 1,
        )

    def space(self, pool: Pool) -> Floats:
        """Judge likeness in the stream, of directions where they are normalised."""
        features = pool.stream(self.stream)
        return unit(features) if self.normalise else features

    def select(
        self, pool: Pool, budget: int, *, seed: int, checkpoint: Checkpoint = no_checkpoint
    ) -> Selection:
        """Choose up to `budget` windows, fewer where no more are free or the limits are reached.

        Raises:
            InvalidInput: If a stream or measure is missing, the positions make no grid, minutes
                have no speed, or not one window is of patches without a label.
        """
        features = self.space(pool)
        if not np.any(pool.available):
            return Selection.nothing(pool)
        strategy = self.resolved(pool, budget)
        windows = strategy._windows(pool)
        free = windows.whole(pool.available)
        if not np.any(free):
            if np.any(windows.whole(pool.unlabelled)):
                return Selection.nothing(pool)
            raise _invalid("window", windows.window, "no window of free patches fits the grid")
        near, _ = nearest_neighbours(features, strategy.neighbours, checkpoint=checkpoint)
        covered = np.zeros(len(pool), np.bool_)
        covered[near[pool.taken]] = True
        chosen, gains = cover_greedily(
            near,
            windows,
            free,
            covered,
            budget,
            last=self.last_of_equals,
            most_overlap=self.most_overlap or 1.0,
            checkpoint=checkpoint,
        )
        affordable = strategy._affordable(windows, chosen)
        rows = windows.members(chosen[:affordable])[:, 0]
        scores = gains[:affordable].astype(np.float32)
        return Selection.without_cells(pool, pool.candidates[rows], scores)

    def _windows(self, pool: Pool) -> Windows:
        window = (self.window_z, self.window_y, self.window_x)
        patch = (self.patch_z, self.patch_y, self.patch_x)
        return Windows(self._corners(pool, window), patch, window)

    def _corners(self, pool: Pool, window: Triple) -> Ids:
        names = (self.z_measure, self.y_measure, self.x_measure)
        corners = np.zeros((len(pool), 3), np.int64)
        if not any(names):
            corners[:, 2] = np.arange(len(pool))
            return corners
        for axis, name in enumerate(names):
            if name:
                corners[:, axis] = np.rint(pool.measure(name))
        if len(np.unique(corners, axis=0)) < len(pool):
            raise _invalid("measures", ", ".join(names), "two patches start at the same voxel")
        places = np.prod([len(np.unique(corners[:, axis])) for axis in range(3)])
        if places > _PLACES_PER_PATCH * len(pool):
            raise _invalid("measures", ", ".join(names), "the positions of patches make no grid")
        return corners

    def _affordable(self, windows: Windows, chosen: Rows) -> int:
        limits = [float(self.most_voxels)] if self.most_voxels else []
        if self.most_minutes:
            if not self.voxels_per_minute:
                raise _invalid("voxels_per_minute", 0, "most_minutes needs voxels_per_minute")
            limits.append(self.most_minutes * self.voxels_per_minute)
        if not limits:
            return len(chosen)
        spent = np.cumsum([windows.voxels(int(window)) for window in chosen])
        return int(np.searchsorted(spent, min(limits) * (1 + SLACK), side="right"))


def check_asked_once(strategy: Strategy, *, limited: bool) -> None:
    """Refuse a coverage that would be asked more than once where it has to remember its windows.

    Under constraints, and inside of another strategy, it is asked again and told the first patch of
    each window only: not what else the windows hold, nor what they cost.

    Args:
        strategy: What is to choose.
        limited: Whether there are constraints.

    Raises:
        InvalidInput: If a coverage that is asked again has windows of several patches, or a limit
            on what all its windows take up together; the field is named.
    """
    asked_again = [*inner_strategies(strategy), *([strategy] if limited else [])]
    where = "under constraints" if limited else f"inside of {strategy.name}"
    for each in asked_again:
        if isinstance(each, Coverage):
            for field in _REMEMBERED:
                value = getattr(each, field)
                if value > (1 if field.startswith("window") else 0):
                    raise _invalid(field, value, f"{field} does not work {where}")


def _invalid(field: str, value: object, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"coverage: {fault}", field=f"strategy.{field}", value=value
    )
