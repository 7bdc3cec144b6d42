"""One block of a probability map, from the object store into the object store.

The sections of a block are written while later ones are predicted, and read while earlier ones
are (`segment.py`). What the block needs in memory is known before it begins: it is in the log, or
the block is refused.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from parfocal_inference.augmentation import Augmented
from parfocal_inference.base_model import BaseModel
from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.emptiness import LowContrast
from parfocal_inference.image_arrays import chunk_depth, open_image, reader
from parfocal_inference.memory import block_memory_bytes, require_room
from parfocal_inference.prediction import CHUNKS, Prediction
from parfocal_inference.segment import Pixels, Tally, segment_sections
from parfocal_inference.windows import WindowGrid
from parfocal_inference.write_behind import WriteBehind
from parfocal_runtime.box import Box, Triple, require_inside
from parfocal_runtime.errors import naming
from parfocal_runtime.logs import get_logger
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.store import ObjectStore

DEFAULT_OVERLAP = 0.25

log = get_logger(__name__)


@dataclass(frozen=True)
class BlockTask:
    """What to predict.

    Attributes:
        image: Path of the image's array.
        prediction: Path of the map's array; made if it does not exist.
        box: The block.
        model: Name of a base model.
        version: Of the model; None is the newest.
        overlap: Share of a window that neighbours have in common; None is a quarter, and more
            where the halo of the model asks for it.
        augmentation: Views of each window that the model's answer is the mean of: 1, 4, 8 or 16.
        empty: Which windows the model does not run on; None is no window.
    """

    image: str
    prediction: str
    box: Box
    model: str
    version: int | None = None
    overlap: float | None = None
    augmentation: int = 1
    empty: LowContrast | None = None

    def grid(self, shape: Triple, model: BaseModel) -> WindowGrid:
        """Return the windows of an image of `shape` for a model."""
        if self.overlap is None:
            return WindowGrid.overlapping(
                shape, model.window, overlap=DEFAULT_OVERLAP, halo=model.halo
            )
        return WindowGrid.overlapping(shape, model.window, overlap=self.overlap)

    def record(self, grid: WindowGrid) -> dict[str, Any]:
        """Return the parameters as a map keeps them; what is as usual is left out."""
        overlap = DEFAULT_OVERLAP if self.overlap is None else self.overlap
        plain = WindowGrid.overlapping(grid.shape, grid.window, overlap=overlap)
        return {
            "overlap": overlap,
            **({"stride": list(grid.stride)} if grid.stride != plain.stride else {}),
            **({"augmentation": self.augmentation} if self.augmentation > 1 else {}),
            **({"empty": self.empty.record()} if self.empty else {}),
        }


@dataclass(frozen=True)
class BlockLimits:
    """How a block may be worked on.

    Attributes:
        windows_per_run: Windows in one run of the model; 0 is what suits it where it runs.
        most_bytes: Memory that a block may take besides what the model takes; None is any.
    """

    windows_per_run: int = 0
    most_bytes: int | None = None


@dataclass(frozen=True)
class BlockDone:
    """What was done.

    Attributes:
        model: Name of the model.
        version: Its version.
        windows: Windows it ran on; 0 where the block was there before.
        skipped: Windows that were empty, which it did not run on.
        already_done: Whether the block was there before.
        model_seconds: Time in which the model ran.
        store_seconds: Time in which the work stood still for the object store.
        seconds: Time in all.
        memory_bytes: The most that the block may have taken besides what the model takes, as it
            was known before.
    """

    model: str
    version: int
    windows: int
    skipped: int
    already_done: bool
    model_seconds: float
    store_seconds: float
    seconds: float
    memory_bytes: int


def segment_into_store(
    store: ObjectStore,
    models: LoadedModels,
    task: BlockTask,
    *,
    limits: BlockLimits | None = None,
    cancel: Cancellation = UNCANCELLED,
) -> BlockDone:
    """Predict a block and write it, unless it is there already.

    A block that cuts chunks of the map is widened to whole ones.

    Args:
        store: Where image and map are.
        models: Where the model is.
        task: What to predict.
        limits: How it may be worked on.
        cancel: Asked between runs of the model.

    Raises:
        NotFound: If there is no such image or model (`ERROR_REASON_ARTIFACT_NOT_FOUND`,
            `ERROR_REASON_MODEL_NOT_FOUND`).
        InvalidInput: If the image is not what it should be, the box leaves it or the model is no
            base model (`ERROR_REASON_SHAPE_MISMATCH`, `ERROR_REASON_DTYPE_MISMATCH`,
            `ERROR_REASON_BOX_OUTSIDE_IMAGE`, `ERROR_REASON_INVALID_FIELD`).
        AlreadyExists: If the map is made from something else (`ERROR_REASON_ARTIFACT_EXISTS`).
        WrongState: If the model is not fit to serve (`ERROR_REASON_MODEL_NOT_READY`).
    """
    begin = time.perf_counter()
    limits = limits or BlockLimits()
    image, shape = open_image(store, task.image, field="image")
    require_inside(task.box, shape)
    with naming("model"):
        loaded = models.get(task.model, task.version)
        model = BaseModel(loaded)
    predict = Augmented(model, copies=task.augmentation, window=model.window)
    grid = task.grid(shape, model)
    box = Prediction.whole_chunks(task.box, shape)
    batch = limits.windows_per_run or model.windows_per_run
    memory_bytes = block_memory_bytes(
        grid,
        box,
        batch=batch,
        at_once=model.at_once,
        read_chunk=chunk_depth(image),
        write_chunk=CHUNKS[0],
        dtype=model.dtype,
        is_augmented=task.augmentation > 1,
    )
    require_room(memory_bytes, limits.most_bytes)
    with naming("prediction"):
        prediction = Prediction.opened(
            store,
            task.prediction,
            image=task.image,
            shape=shape,
            made_from={"model": loaded.name, "version": loaded.version, **task.record(grid)},
        )
        already_done = prediction.has(box)
    tally = Tally()
    if not already_done:
        log.info("a block begins", start=box.start, stop=box.stop, memory_bytes=memory_bytes)
        _write_sections(
            prediction,
            segment_sections(
                reader(image, field="image"),
                predict,
                grid=grid,
                box=box,
                batch=batch,
                at_once=model.at_once,
                chunk=chunk_depth(image),
                is_empty=task.empty,
                cancel=cancel,
                tally=tally,
            ),
            box,
            tally,
        )
    return BlockDone(
        model=loaded.name,
        version=loaded.version,
        windows=tally.windows,
        skipped=tally.skipped,
        already_done=already_done,
        model_seconds=model.busy.seconds,
        store_seconds=tally.waiting.seconds,
        seconds=time.perf_counter() - begin,
        memory_bytes=memory_bytes,
    )


def _write_sections(
    prediction: Prediction, sections: Generator[Pixels, None, None], box: Box, tally: Tally
) -> None:
    """Write the sections of a block as they come, and put the block on record."""
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer, closing(sections):
        behind = WriteBehind(
            prediction.write, box, chunk=CHUNKS[0], executor=writer, waiting=tally.waiting
        )
        for piece in sections:
            behind.add(piece)
        behind.finish()
    prediction.finish(box)
