"""A base model of the repository as the function that blended prediction asks for."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from parfocal_inference.busy import Busy
from parfocal_runtime.box import Triple
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.buckets import has_rows
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.models.loading import not_ready

_WINDOWS_ON_GPU = 8
"""Windows that keep an H100 busy: a U-Net computes 1.4 times as many by eights as one by one."""


class BaseModel:
    """Predicts on windows of an image, from any number of threads, and counts what that costs.

    A model of single sections, whose tensors have no z, looks through windows one section deep.

    Args:
        loaded: A model version whose card says that it is a base model.

    Attributes:
        window: Shape (z, y, x) of the windows that the model takes.
        halo: Voxels (z, y, x) at each face of a window of which the model says worse.
        dtype: Element type of the model's input.
        at_once: How many runs are best made at a time: on a processor each has a thread of its own.
        windows_per_run: How many windows are best run together: more than one gains on a GPU alone.
        busy: Time in which the model ran.

    Raises:
        InvalidInput: If it is another kind of model (`ERROR_REASON_INVALID_FIELD`).
    """

    def __init__(self, loaded: LoadedModel) -> None:
        card = loaded.card
        if card.kind != "base" or not len(card.window) == len(card.halo) in (2, 3):
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"model {loaded.name} is no base model: it cannot predict on images",
                field="model",
                value=loaded.name,
            )
        self.window = _zyx(loaded.card.window, z=1)
        self.halo = _zyx(loaded.card.halo, z=0)
        beside = loaded.bulk.side_by_side
        self.at_once = beside.at_once if beside else 1
        self.windows_per_run = _windows_per_run(loaded)
        self.busy = Busy()
        self._loaded = loaded
        self._run = partial(beside.run, loaded.bulk) if beside else loaded.bulk.run
        self._input = loaded.card.inputs[0].name
        self._output = loaded.card.outputs[0].name
        # Models from elsewhere take the same grey values as floats.
        self.dtype = loaded.session.inputs[0].dtype
        # The axes (N, 1, Z, Y, X) that the model does not have.
        self._missing = () if len(loaded.card.window) == 3 else (2,)

    def __call__(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities (N, 1, Z, Y, X) of windows of that shape.

        Raises:
            WrongState: If the model cannot run on them, or returns another shape or values that
                are not finite (`ERROR_REASON_MODEL_NOT_READY`).
        """
        pixels = windows.squeeze(self._missing).astype(self.dtype, copy=False)
        try:
            with self.busy:
                found = self._run({self._input: pixels}, [self._output])[self._output]
        except InvalidInput as error:
            # Shape and type of the windows are those of its card.
            raise self._unfit(error.message) from error
        if found.shape != pixels.shape:
            raise self._unfit(f"it returned shape {found.shape} for windows of {pixels.shape}")
        probability = np.asarray(found, np.float32).reshape(windows.shape)
        if not np.isfinite(probability).all():
            raise self._unfit("it returned values that are not finite")
        return probability

    def _unfit(self, cause: str) -> Exception:
        return not_ready(self._loaded.name, self._loaded.version, cause)


def _windows_per_run(loaded: LoadedModel) -> int:
    session, config = loaded.bulk, loaded.config
    if not (session.on_gpu and has_rows(config, session.inputs, session.outputs)):
        return 1
    return min(_WINDOWS_ON_GPU, config.max_batch_size)


def _zyx(sides: tuple[int, ...], *, z: int) -> Triple:
    """Return three sides, with `z` for the first one where there are but two."""
    depth, height, width = sides if len(sides) == 3 else (z, *sides)
    return (depth, height, width)
