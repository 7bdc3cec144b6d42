"""A patch classifier of the repository as the function that detection asks for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.models.loading import not_ready
from parfocal_runtime.models.row_runs import run_rows

_ROUNDING = 1e-5


class PatchClassifier:
    """Says of patches how likely each class is.

    Args:
        loaded: A model version with one input (N, 1, H, W), of which H and W are those of its
            test tensor, and a first output (N, K).

    Attributes:
        patch: Height and width of the patches that the model takes.
        classes: Number of classes, K.

    Raises:
        InvalidInput: If it is another kind of model (`ERROR_REASON_INVALID_FIELD`).
    """

    def __init__(self, loaded: LoadedModel) -> None:
        if (
            loaded.card.kind == "encoder"
            or not loaded.card.takes_patches
            or loaded.session.inputs[0].dtype.kind not in "uf"
        ):
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"model {loaded.name} is no patch classifier: it does not give probabilities "
                "(N, K) for patches (N, 1, H, W)",
                field="model",
                value=loaded.name,
            )
        height, width = loaded.card.inputs[0].test.shape[2:]
        self.patch = (height, width)
        self.classes = loaded.card.outputs[0].test.shape[1]
        self._loaded = loaded
        self._input = loaded.card.inputs[0].name
        self._output = loaded.card.outputs[0].name
        self._dtype = loaded.session.inputs[0].dtype

    def __call__(self, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities (N, K) of patches (N, 1, H, W).

        Raises:
            WrongState: If the model cannot run on them, or returns another shape or what are no
                probabilities (`ERROR_REASON_MODEL_NOT_READY`).
        """
        pixels = patches.astype(self._dtype, copy=False)
        try:
            found = run_rows(self._loaded.bulk, {self._input: pixels}, [self._output])[self._output]
        except InvalidInput as error:
            # Shape and type of the patches are those of its card.
            raise self._unfit(error.message) from error
        if found.shape != (len(patches), self.classes):
            raise self._unfit(f"it returned shape {found.shape} for {len(patches)} patches")
        probability = np.asarray(found, np.float32)
        # Written so that NaN fails.
        if not ((probability >= -_ROUNDING) & (probability <= 1 + _ROUNDING)).all():
            raise self._unfit("it returned values that are not between 0 and 1")
        return probability

    def _unfit(self, cause: str) -> Exception:
        return not_ready(self._loaded.name, self._loaded.version, cause)
