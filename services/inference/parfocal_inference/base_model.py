"""A base model of the repository as the function that blended prediction asks for."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Triple
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.models.loading import not_ready


class BaseModel:
    """Predicts on windows of an image, and counts what that costs.

    Args:
        loaded: A model version whose card says that it is a base model.

    Attributes:
        window: Shape (z, y, x) of the windows that the model takes.
        seconds: Time spent in the model so far.

    Raises:
        InvalidInput: If it is another kind of model (`ERROR_REASON_INVALID_FIELD`).
    """

    def __init__(self, loaded: LoadedModel) -> None:
        if loaded.card.kind != "base" or len(loaded.card.window) != 3:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"model {loaded.name} is no base model: it cannot predict on images",
                field="model",
                value=loaded.name,
            )
        z, y, x = loaded.card.window
        self.window: Triple = (z, y, x)
        self.seconds = 0.0
        self._loaded = loaded
        self._input = loaded.card.inputs[0].name
        self._output = loaded.card.outputs[0].name
        # Models from elsewhere take the same grey values as floats.
        self._dtype = loaded.session.inputs[0].dtype

    def __call__(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities (N, 1, Z, Y, X) of windows of that shape.

        Raises:
            WrongState: If the model returns another shape or values that are not finite
                (`ERROR_REASON_MODEL_NOT_READY`).
        """
        begin = time.perf_counter()
        pixels = windows.astype(self._dtype, copy=False)
        found = self._loaded.session.run({self._input: pixels}, [self._output])[self._output]
        self.seconds += time.perf_counter() - begin
        if found.shape != windows.shape:
            raise self._unfit(f"it returned shape {found.shape} for windows of {windows.shape}")
        probability = np.asarray(found, np.float32)
        if not np.isfinite(probability).all():
            raise self._unfit("it returned values that are not finite")
        return probability

    def _unfit(self, cause: str) -> Exception:
        return not_ready(self._loaded.name, self._loaded.version, cause)
