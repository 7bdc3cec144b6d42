"""One block of a probability map, from the object store into the object store."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial

from parfocal_inference.base_model import BaseModel
from parfocal_inference.cancellation import UNCANCELLED, Cancellation
from parfocal_inference.image_arrays import open_image
from parfocal_inference.prediction import Prediction
from parfocal_inference.segment import segment_block
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.arrays import read_box
from parfocal_runtime.box import Box, require_inside
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.store import ObjectStore


@dataclass(frozen=True)
class BlockTask:
    """What to predict.

    Attributes:
        image: Path of the image's array.
        prediction: Path of the map's array; made if it does not exist.
        box: The block.
        model: Name of a base model.
        version: Of the model; None is the newest.
        overlap: Share of a window that neighbours have in common.
    """

    image: str
    prediction: str
    box: Box
    model: str
    version: int | None = None
    overlap: float = 0.25


@dataclass(frozen=True)
class BlockDone:
    """What was done.

    Attributes:
        model: Name of the model.
        version: Its version.
        windows: Windows it ran on; 0 where the block was there before.
        already_done: Whether the block was there before.
        model_seconds: Time in the model.
        seconds: Time in all.
    """

    model: str
    version: int
    windows: int
    already_done: bool
    model_seconds: float
    seconds: float


def segment_into_store(
    store: ObjectStore,
    models: LoadedModels,
    task: BlockTask,
    *,
    batch: int = 1,
    cancel: Cancellation = UNCANCELLED,
) -> BlockDone:
    """Predict a block and write it, unless it is there already.

    A block that cuts chunks of the map is widened to whole ones.

    Args:
        store: Where image and map are.
        models: Where the model is.
        task: What to predict.
        batch: Windows in one run of the model.
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
    image, shape = open_image(store, task.image, field="image")
    require_inside(task.box, shape)
    loaded = models.get(task.model, task.version)
    model = BaseModel(loaded)
    grid = WindowGrid.overlapping(shape, model.window, overlap=task.overlap)
    prediction = Prediction.opened(
        store,
        task.prediction,
        image=task.image,
        shape=shape,
        made_from={"model": loaded.name, "version": loaded.version, "overlap": task.overlap},
    )
    box = prediction.whole_chunks(task.box)
    already_done = prediction.has(box)
    if not already_done:
        read = partial(read_box, image)
        prediction.write(
            box, segment_block(read, model, grid=grid, box=box, batch=batch, cancel=cancel)
        )
    return BlockDone(
        model=loaded.name,
        version=loaded.version,
        windows=0 if already_done else math.prod(map(len, grid.touching(box))),
        already_done=already_done,
        model_seconds=model.seconds,
        seconds=time.perf_counter() - begin,
    )
