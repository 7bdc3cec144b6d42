"""Matrices of floats between numpy and messages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parfocal.common.v1.artifact_pb2 import FloatMatrix


def matrix_to_pb(matrix: npt.ArrayLike) -> FloatMatrix:
    """Return the message of a matrix (rows, columns), as float32."""
    values = np.ascontiguousarray(matrix, dtype="<f4")
    rows, columns = values.shape
    return FloatMatrix(rows=rows, columns=columns, data=values.tobytes())


def matrix_from_pb(message: FloatMatrix) -> npt.NDArray[np.float32]:
    """Return the matrix (rows, columns) float32 of a message; it is read-only."""
    values = np.frombuffer(message.data, dtype="<f4")
    return values.reshape(message.rows, message.columns).astype(np.float32, copy=False)
