"""Element types of tensors, by the names of the Open Inference Protocol.

Each type has three more names: numpy's, ONNX Runtime's and Triton's (`TYPE_` before the
protocol's, except for BYTES). numpy has no BF16: its elements are carried as their 16 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BYTES = "BYTES"
BF16 = "BF16"

NUMPY: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    BF16: np.dtype(np.uint16),
    BYTES: np.dtype(np.object_),
}

ONNX: dict[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": BF16,
    "tensor(string)": BYTES,
}


def triton_name(datatype: str) -> str:
    """Return Triton's name of a type, such as `TYPE_FP32`."""
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"


def to_codes(array: Array) -> npt.NDArray[np.uint8]:
    """Return text as UTF-8 codes along a last axis of their own, filled up with zeros.

    Args:
        array: BYTES elements (...), as `bytes` or `str`.
    """
    items = [item.encode() if isinstance(item, str) else bytes(item) for item in array.flat]
    width = max((len(item) for item in items), default=0) or 1
    filled = b"".join(item.ljust(width, b"\0") for item in items)
    return np.frombuffer(filled, np.uint8).reshape(*array.shape, width)


def from_codes(codes: npt.NDArray[np.uint8]) -> Array:
    """Return the BYTES elements (...), as `bytes`, of codes (..., width)."""
    rows = codes.reshape(-1, codes.shape[-1])
    array = np.empty(len(rows), np.object_)
    array[:] = [bytes(row).rstrip(b"\0") for row in rows]
    return array.reshape(codes.shape[:-1])


def to_bf16_bits(array: Array) -> Array:
    """Return the BF16 elements nearest to those of `array`, as their 16 bits."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16_bits(array: Array) -> Array:
    """Return BF16 elements, given as their 16 bits, as float32."""
    return (array.astype(np.uint32) << 16).view(np.float32)
