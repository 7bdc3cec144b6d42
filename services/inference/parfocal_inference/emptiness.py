"""Windows in which there is nothing to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LowContrast:
    """Says that a window is empty where its grey values hardly differ.

    A window is judged by all of its own voxels and by nothing else, so the verdict does not depend
    on the block that it is in.

    Attributes:
        contrast: The brightest and the darkest voxel of an empty window differ by at most this.
    """

    contrast: int

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> bool:
        """Return whether a window (z, y, x) is empty."""
        return int(pixels.max()) - int(pixels.min()) <= self.contrast

    def record(self) -> dict[str, Any]:
        """Return the rule as a map keeps it."""
        return {"contrast": self.contrast}
