"""Independent streams of random numbers from one seed, each with a name of its own.

Named streams keep parts of a selection from disturbing each other: the reserved random share
is the same whatever the strategy draws.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def _sequence(seed: int, stream: str, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, zlib.crc32(stream.encode()), index])


def bit_generator(seed: int, stream: str, *, index: int = 0) -> np.random.PCG64:
    """Return the source of one stream; its raw output is the same in every NumPy release."""
    return np.random.PCG64(_sequence(seed, stream, index))


def derived_seed(seed: int, stream: str, *, index: int = 0) -> int:
    """Return a 32-bit seed for a library that takes no generator."""
    return int(_sequence(seed, stream, index).generate_state(1, np.uint32)[0])


def uniform(source: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the next numbers in [0, 1) of a stream, in an array of `shape`."""
    raw = np.asarray(source.random_raw(int(np.prod(shape))), np.uint64)
    return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53
