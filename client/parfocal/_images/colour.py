"""How a section with several samples per pixel becomes one with a single sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from parfocal._errors import ImageError
from parfocal._images.source import Array

# ITU-R BT.601, as most programs turn colour into grey.
_LUMA = np.array([0.299, 0.587, 0.114])


def single_dtype(dtype: np.dtype[Any], samples: int, *, labels: bool) -> np.dtype[Any]:
    """Return the type of `single_sample`'s answer for sections of `dtype`."""
    return np.dtype(np.uint32) if labels and samples >= 3 else dtype


def single_sample(
    section: Array, name: str, *, channel: int | None = None, labels: bool = False
) -> Array:
    """Return a section (y, x) made from one of (y, x) or (y, x, samples).

    Args:
        section: Grey, grey and alpha, red-green-blue, or that and alpha.
        name: What to call it in messages.
        channel: The sample to take. None makes colour grey by luminance (ITU-R BT.601), which
            keeps grey stored as three equal samples as it is; alpha is left out.
        labels: Whether samples are parts of an object's number: then colour means
            `65536 red + 256 green + blue`, as VAST writes it.

    Raises:
        ImageError: If there is no such channel.
    """
    if section.ndim == 2:
        chosen_channel(1, channel, name)
        return section
    samples = section.shape[2]
    if channel is not None:
        return section[..., chosen_channel(samples, channel, name)]
    if samples < 3:
        return section[..., 0]
    if labels:
        red, green, blue = (section[..., i].astype(np.uint32) for i in range(3))
        return (red << 16) | (green << 8) | blue
    grey: Array = section[..., :3] @ _LUMA
    if section.dtype.kind != "f":
        grey = np.rint(grey)
    return grey.astype(section.dtype)


def chosen_channel(count: int, channel: int | None, name: str) -> int:
    """Return which of `count` channels to read.

    Raises:
        ImageError: If there are several and none is named, or there is none of that number.
    """
    if channel is None and count == 1:
        return 0
    if channel is None:
        fault = f"it has {count} channels; say which one to read, counted from 0"
    elif not 0 <= channel < count:
        fault = f"there is no channel {channel}; it has {count}, counted from 0"
    else:
        return channel
    raise ImageError(
        f"{name}: {fault}",
        reason="ERROR_REASON_INVALID_FIELD",
        metadata={"path": name, "field": "channel", "value": str(channel)},
    )
