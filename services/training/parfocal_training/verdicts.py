"""What verdicts on proposals say about voxels, and batches that mix them with replayed labels.

After the fine-tuning of Lin et al. (ECCV 2020): the proposed mask of a True verdict is truth
inside its box, a False one is background, everything else is ignored, and a quarter of each
mini-batch comes from the volume that was labelled first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parfocal_runtime.arrays import open_array, read_box
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.store import ObjectStore
from parfocal_training.candidates import CandidateSet, Judgement
from parfocal_training.regions import context, open_image
from parfocal_training.sampling import Batch, Region, WindowSampler, as_batch

Voxels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Verdict:
    """One verdict, in the voxels of its image.

    Attributes:
        label: Value of the proposal in the array of objects.
        box: Its ROI box.
        is_true: Whether people found it right.
    """

    label: int
    box: Box
    is_true: bool


def paint(
    objects: npt.NDArray[np.uint32], block: Box, verdicts: Iterable[Verdict]
) -> tuple[Voxels, Voxels]:
    """Return target and valid, uint8 (z, y, x), of a block.

    A True proposal makes its own voxels foreground and the free voxels of its box background; a
    False one makes its own voxels background. The voxels of other proposals in the box stay
    unknown: they have, or wait for, a verdict of their own.

    Args:
        objects: Which proposal each voxel of the block belongs to, 0 = none.
        block: Where the block lies in the image.
        verdicts: Those that may reach into the block.
    """
    target = np.zeros(block.shape, dtype=np.uint8)
    valid = np.zeros(block.shape, dtype=np.uint8)
    for verdict in verdicts:
        common = verdict.box.intersection(block)
        if common is None:
            continue
        at = common.relative_to(block.start).slices
        own = objects[at] == verdict.label
        target[at][own] = int(verdict.is_true)
        valid[at][own] = 1
        if verdict.is_true:
            valid[at][objects[at] == 0] = 1
    return target, valid


def verdict_regions(
    store: ObjectStore, judgements: Sequence[Judgement], window: Triple
) -> list[Region]:
    """Return one region for each verdict, with what the other verdicts say about its surroundings.

    Raises:
        NotFound: If an image or an array of objects does not exist.
        InvalidInput: If a set does not name its images.
    """
    grouped: dict[tuple[str, int], list[Judgement]] = {}
    for judgement in judgements:
        source = judgement.candidates.source(judgement.candidate)
        grouped.setdefault((judgement.candidates.folder, source), []).append(judgement)
    regions: list[Region] = []
    for (_, source), group in grouped.items():
        regions += _regions_of_image(store, group[0].candidates, source, group, window)
    return regions


@dataclass
class ReplayMixture:
    """Batches in which a fixed share comes from replayed regions.

    Attributes:
        fresh: Draws the windows of the verdicts.
        replay: Draws the windows of the labels that came first, or None.
        share: Share of the windows that `replay` draws, exact over time.
        drawn: Windows drawn so far.
    """

    fresh: WindowSampler
    replay: WindowSampler | None
    share: float
    drawn: int = 0

    def batch(self, size: int, rng: np.random.Generator) -> Batch:
        """Return `size` windows."""
        windows = []
        for _ in range(size):
            replayed = math.floor((self.drawn + 1) * self.share) > math.floor(
                self.drawn * self.share
            )
            self.drawn += 1
            sampler = self.replay if replayed and self.replay is not None else self.fresh
            windows.append(sampler.draw(rng))
        return as_batch(windows)


def _regions_of_image(
    store: ObjectStore,
    candidates: CandidateSet,
    source: int,
    judgements: Sequence[Judgement],
    window: Triple,
) -> list[Region]:
    if source >= len(candidates.images):
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD",
            f"{candidates.folder} does not name its images",
            field="candidates",
            value=candidates.folder,
        )
    image = open_image(store, candidates.images[source], field="candidates.image")
    objects = open_array(store, candidates.objects_path(source))
    verdicts = [
        Verdict(judged.candidate + 1, candidates.box(judged.candidate), judged.verdict)
        for judged in judgements
    ]
    starts = np.array([verdict.box.start for verdict in verdicts])
    stops = np.array([verdict.box.stop for verdict in verdicts])
    regions = []
    for verdict in verdicts:
        block = context(verdict.box, window, image.shape)
        near = ((starts < block.stop) & (stops > block.start)).all(axis=1)
        target, valid = paint(
            read_box(objects, block), block, [verdicts[row] for row in np.flatnonzero(near)]
        )
        core = verdict.box.relative_to(block.start)
        regions.append(Region(read_box(image, block), target, valid, core).padded(window))
    return regions
