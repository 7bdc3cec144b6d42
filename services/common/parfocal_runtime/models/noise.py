"""Inputs that stand for any: what a graph is tried on when nobody gives it anything."""

from __future__ import annotations

import numpy as np

from parfocal_runtime.models.datatypes import BF16, BYTES, Array, to_bf16_bits
from parfocal_runtime.models.sessions import TensorSpec


def noise(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return random values of an input's element type that most graphs can take.

    Args:
        spec: The input.
        shape: Of the array.
        rng: Where they come from.
    """
    if spec.datatype == "UINT8":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if spec.datatype == "INT8":
        return rng.integers(-1, 2, shape, dtype=np.int8)
    if spec.datatype == BF16:
        return to_bf16_bits(rng.random(shape, dtype=np.float32))
    if spec.datatype == BYTES:
        # Digits are text to most graphs and numbers to those that want numbers.
        return rng.integers(0, 10, shape).astype(np.str_).astype(np.object_)
    if spec.dtype.kind == "f":
        return np.asarray(rng.random(shape)).astype(spec.dtype)
    # Zeros and ones are valid where whole numbers are indices.
    return np.asarray(rng.integers(0, 2, shape)).astype(spec.dtype)
