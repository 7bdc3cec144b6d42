"""Test-time augmentation: the mean of what a model says of a window turned about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import numpy.typing as npt

from parfocal_runtime.box import Triple
from parfocal_runtime.errors import InvalidInput

COPIES = (1, 4, 8, 16)
"""How many views there may be: as it is; flipped along y and x; also transposed; also along z."""

Views = npt.NDArray[np.generic]


class Augmented:
    """A model whose answer is the mean over flipped and transposed views of its windows.

    The mean is a running one, in float64, so that memory does not grow with the number of views.
    Every window is by itself: whatever shares its block, its answer is the same.

    Args:
        predict: Takes windows (N, 1, Z, Y, X) and returns probabilities of that shape.
        copies: Number of views, one of `COPIES`.
        window: Shape (z, y, x) of the windows.

    Raises:
        InvalidInput: If there are no so many views of such windows (`ERROR_REASON_INVALID_FIELD`).
    """

    def __init__(
        self,
        predict: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
        *,
        copies: int,
        window: Triple,
    ) -> None:
        z, y, x = window
        fault = ""
        if copies not in COPIES:
            fault = f"must be one of {', '.join(map(str, COPIES))}"
        elif copies >= 8 and y != x:
            fault = f"needs windows as high as wide, those of the model are {window}"
        elif copies == 16 and z == 1:
            fault = "flips along z, and the model sees single sections"
        if fault:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"augmentation {fault}, got {copies}",
                field="augmentation",
                value=copies,
            )
        self._predict = predict
        self._copies = copies

    def __call__(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the mean probabilities (N, 1, Z, Y, X) of windows of that shape."""
        if self._copies == 1:
            return self._predict(windows)
        total = np.zeros(windows.shape)
        for flips, transposed in _views(self._copies):
            seen = np.flip(windows, flips)
            seen = seen.swapaxes(-1, -2) if transposed else seen
            found = self._predict(np.ascontiguousarray(seen))
            found = found.swapaxes(-1, -2) if transposed else found
            total += np.flip(found, flips)
        # The number of views is a power of two, so a constant comes back as it was.
        total /= self._copies
        return total.astype(np.float32)


def _views(copies: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield the axes that each view is flipped along, and whether it is transposed after that."""
    z_flips = (False, True) if copies == 16 else (False,)
    transposes = (False, True) if copies >= 8 else (False,)
    for z, y, x, transposed in product(z_flips, (False, True), (False, True), transposes):
        axes = (-3, -2, -1)
        yield tuple(axis for axis, flip in zip(axes, (z, y, x), strict=True) if flip), transposed
