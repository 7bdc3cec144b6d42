"""A small object store to train in: an image, its truth, proposals and verdicts on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parfocal_runtime.arrays import create_array
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.store import ObjectStore
from parfocal_runtime.tables import create_table
from parfocal_training.progress import Progress
from parfocal_training.sampling import Region
from parfocal_training.spec import (
    FineTuneBase,
    LabelledBox,
    ModelRef,
    Optimisation,
    RunSpec,
    Task,
    TrainBase,
    TrainVae,
    TuneEncoder,
    UNetShape,
)

IMAGE = "projects/demo/images/vnc.ome.zarr/0"
TRUTH = "projects/demo/images/vnc.ome.zarr/labels/truth/0"
SET = "projects/demo/candidates/first"
SNAPSHOT = "projects/demo/snapshots/s.parquet"
WINDOW = (2, 8, 8)
SHAPE = (4, 48, 48)
SIDE = 16
CANDIDATES = 12
TINY = UNetShape(widths=(4, 8), isotropy=(False, True), window=(2, 16, 16))


def steps(count: int, *, batch: int = 2) -> Optimisation:
    """Return a descent of `count` steps."""
    return Optimisation(iterations=count, batch=batch, learning_rate=1e-2, warm_up=2)


@dataclass
class TrainingLab:
    """An object store with everything that the tasks read."""

    store: ObjectStore
    truth: npt.NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.truth = np.zeros(SHAPE, dtype=np.uint8)
        for row in range(CANDIDATES):
            self.truth[box_of(row).slices] = 1
        image = np.clip(60 + 120 * self.truth + rng.normal(0, 10, SHAPE), 0, 255)
        self.write(IMAGE, image.astype(np.uint8))
        self.write(TRUTH, self.truth * 255)
        self._write_candidates(rng)
        write_snapshot(self.store, [row % 3 != 0 for row in range(CANDIDATES)])

    def write(self, path: str, data: npt.NDArray[np.generic]) -> None:
        """Write an array."""
        array = create_array(
            self.store, path, shape=data.shape, dtype=data.dtype, chunks=data.shape
        )
        array.write(data).result()

    def _write_candidates(self, rng: np.random.Generator) -> None:
        objects = np.zeros(SHAPE, dtype=np.uint32)
        boxes = [box_of(row) for row in range(CANDIDATES)]
        for row, box in enumerate(boxes):
            objects[box.slices] = row + 1
        self.write(f"{SET}/objects-0.zarr", objects)
        image = rng.integers(0, 255, (CANDIDATES, SIDE, SIDE), dtype=np.uint8)
        image[::3] //= 4
        mask = (rng.random((CANDIDATES, SIDE, SIDE)) < 0.5).astype(np.int8)
        self.write(f"{SET}/patches.zarr/image", image)
        self.write(f"{SET}/patches.zarr/mask", mask)
        self.store.write(f"{SET}/set.json", json.dumps({"sources": [{"image": IMAGE}]}).encode())
        corners = np.array([[*box.start, *box.stop] for box in boxes], dtype=np.int32)
        columns = dict(zip(("z0", "y0", "x0", "z1", "y1", "x1"), corners.T, strict=True))
        table = pa.table({"candidate": np.arange(CANDIDATES), **columns})
        create_table(self.store, f"{SET}/table.parquet", table)


def write_snapshot(
    store: ObjectStore, verdicts: Sequence[bool | None], path: str = SNAPSHOT
) -> None:
    """Write a snapshot with a verdict on each of the first candidates."""
    table = pa.table(
        {
            "candidate_set": ["first"] * len(verdicts),
            "candidate": np.arange(len(verdicts)),
            "verdict": pa.array(verdicts, pa.bool_()),
        }
    )
    create_table(store, path, table)


def box_of(row: int) -> Box:
    """Return the box of a candidate: 8 x 8 pixels in one section, a grid of them per section."""
    z, place = divmod(row, 4)
    y, x = 6 + 22 * (place // 2), 6 + 22 * (place % 2)
    return Box((z, y, x), (z + 1, y + 8, x + 8))


def region_of(shape: Triple, core: Box | None = None, foreground: int = 0) -> Region:
    """Return a region of which `core` is known."""
    core = core or Box.whole(shape)
    valid = np.zeros(shape, dtype=np.uint8)
    valid[core.slices] = 1
    target = np.zeros(shape, dtype=np.uint8)
    target.reshape(-1)[:foreground] = 1
    image = np.arange(np.prod(shape), dtype=np.uint64).astype(np.uint8).reshape(shape)
    return Region(image, target, valid, core)


def labelled(box: Box | None = None) -> LabelledBox:
    """Return a labelled box, all of the image by default."""
    return LabelledBox(IMAGE, TRUTH, box or Box((0, 0, 0), SHAPE))


def base_task(count: int = 4) -> TrainBase:
    """Return a base training of `count` steps."""
    return TrainBase(
        regions=(labelled(),),
        architecture=TINY,
        voxel_size_nm=(50, 9, 9),
        optimisation=steps(count),
    )


def fine_tuning(parent: ModelRef, count: int = 4) -> FineTuneBase:
    """Return a fine-tuning of `count` steps."""
    return FineTuneBase(
        parent=parent,
        snapshots=(SNAPSHOT,),
        candidates=(SET,),
        replay=(labelled(),),
        optimisation=steps(count, batch=4),
    )


def vae_task(stream: str, count: int = 4) -> TrainVae:
    """Return a training of an auto-encoder of `count` steps."""
    return TrainVae(
        stream=stream,
        images=(IMAGE,),
        candidates=(SET,),
        patch_side=SIDE,
        latent=3,
        widths=(4, 8),
        patches=32,
        optimisation=steps(count, batch=8),
    )


def tuning(parent: ModelRef, count: int = 10) -> TuneEncoder:
    """Return a tuning of `count` steps."""
    return TuneEncoder(
        parent=parent,
        snapshots=(SNAPSHOT,),
        candidates=(SET,),
        optimisation=steps(count, batch=8),
    )


def spec_of(task: Task, *, run: str = "run-1", model: str = "mito", seed: int = 0) -> RunSpec:
    """Return the spec of a run."""
    return RunSpec(run=run, model=model, task=task, seed=seed)


class Uncancelled:
    """Nobody stops the run."""

    def check(self) -> None:
        """Return."""


def unheard(progress: Progress) -> None:
    """Take no note of progress."""
