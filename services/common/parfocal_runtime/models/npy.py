"""Arrays from `.npy` files that somebody else wrote."""

from __future__ import annotations

import io
import math
from typing import cast

import numpy as np

from parfocal_runtime.models.datatypes import Array


def read_npy(content: bytes) -> Array:
    """Return the array in a `.npy` file.

    Raises:
        ValueError: If it is none, holds Python objects, or is not as long as its header says.
    """
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = header(stream)
    # numpy makes room for what the header says before it reads, however little there is.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("the file is not as long as its header says, or holds objects")
    return cast(Array, np.load(io.BytesIO(content), allow_pickle=False))
