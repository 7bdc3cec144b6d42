"""An encoder: patches in, vectors out, the same vector whatever range a patch comes in."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.models.loading import not_ready
from parfocal_runtime.models.row_runs import run_rows
from parfocal_runtime.tasks import CancelFlag

BATCH_ROWS = 64
"""Patches that a thread is given at a time; others wait for them no longer than that takes."""
LARGEST_BATCH = 4 * BATCH_ROWS
"""Patches of all threads at a time, at most. Batches are this or a half or quarter of it, so that
patches of a chunk share their runs with the same others whatever range they are embedded with."""

Vectors = NDArray[np.float32]


class Stream(StrEnum):
    """Which patches an encoder looks at."""

    IMAGE = "image"
    MASK = "mask"


class Encoder:
    """A model version that turns patches into vectors.

    Attributes:
        name: Name of the model.
        version: Its version.
        stream: The patches that it reads, empty if its card does not say.
        side: Height and width of a patch in pixels.
        dtype: Element type of a patch.
        dimensions: Length of a vector.

    Raises:
        InvalidInput: If the model is no encoder (`ERROR_REASON_INVALID_FIELD`).
    """

    def __init__(self, model: LoadedModel) -> None:
        kinds = {model.session.inputs[0].dtype.kind, model.session.outputs[0].dtype.kind}
        if model.card.kind != "encoder" or not model.card.takes_patches or "O" in kinds:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"model {model.name} is no encoder: it does not give vectors (N, d) for patches "
                "(N, 1, height, width)",
                field="encoder",
                value=model.name,
            )
        self.name = model.name
        self.version = model.version
        self.stream = str(model.card.stream)
        height, width = model.card.inputs[0].test.shape[2:]
        self.side = (height, width)
        self.dtype: np.dtype[Any] = model.session.inputs[0].dtype
        self.dimensions = int(model.card.outputs[0].test.shape[1])
        self._session = model.bulk
        beside = model.bulk.side_by_side
        doubled = (beside.at_once if beside else 1).bit_length() - 1
        self._batch = min(BATCH_ROWS << doubled, LARGEST_BATCH)

    @property
    def label(self) -> str:
        """Name and version in one."""
        return f"{self.name}-{self.version}"

    def check_stream(self, stream: Stream) -> None:
        """Return if the encoder reads patches of this stream.

        Raises:
            InvalidInput: If it reads the other (`ERROR_REASON_INVALID_FIELD`).
        """
        if self.stream and self.stream != stream:
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"encoder {self.label} reads {self.stream} patches, not {stream} patches",
                field="stream",
                value=stream,
            )

    def check_patches(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, field: str) -> None:
        """Return if patches (N, height, width) of this shape and type can be read.

        Raises:
            InvalidInput: If they cannot (`ERROR_REASON_SHAPE_MISMATCH`,
                `ERROR_REASON_DTYPE_MISMATCH`).
        """
        if len(shape) != 3 or tuple(shape[1:]) != self.side:
            raise InvalidInput(
                "ERROR_REASON_SHAPE_MISMATCH",
                f"encoder {self.label} reads patches of {self.side}, got {shape}",
                field=field,
                shape=shape,
                expected=self.side,
            )
        if dtype != self.dtype:
            raise InvalidInput(
                "ERROR_REASON_DTYPE_MISMATCH",
                f"encoder {self.label} reads {self.dtype}, got {dtype}",
                field=field,
                dtype=dtype,
                expected=self.dtype,
            )

    def check_values(self, patches: NDArray[Any], stream: str, *, field: str) -> None:
        """Return if patches hold what patches of this stream do.

        Raises:
            InvalidInput: If a mask has other values than -1, 0 and 1, or a picture such that are
                not finite (`ERROR_REASON_INVALID_FIELD`).
        """
        fault = ""
        if stream == Stream.MASK and not np.isin(patches, (-1, 0, 1)).all():
            fault = "a mask has the values -1, 0 and 1 only"
        elif patches.dtype.kind == "f" and not np.isfinite(patches).all():
            fault = "a patch has finite values only"
        if fault:
            raise InvalidInput("ERROR_REASON_INVALID_FIELD", fault, field=field)

    def encode(self, patches: NDArray[Any], *, cancel: CancelFlag) -> Vectors:
        """Turn patches (N, height, width) into vectors (N, d) float32, a batch at a time.

        Raises:
            Cancelled: If `cancel` is set between two batches.
            WrongState: If the model cannot run on them, or returns another shape or values that
                are not finite (`ERROR_REASON_MODEL_NOT_READY`).
        """
        vectors = np.empty((len(patches), self.dimensions), np.float32)
        for rows in self.batches(0, len(patches)):
            cancel.check()
            vectors[rows] = self._run(patches[rows])
        return vectors

    def batches(self, start: int, stop: int) -> Iterator[slice]:
        """Yield the rows of each batch of a range."""
        for first in range(start, stop, self._batch):
            yield slice(first, min(first + self._batch, stop))

    def _run(self, patches: NDArray[Any]) -> Vectors:
        source, target = self._session.inputs[0].name, self._session.outputs[0].name
        try:
            found = run_rows(self._session, {source: patches[:, None]}, [target])[target]
        except InvalidInput as error:
            # Shape and type of the patches are those of its card.
            raise self._unfit(error.message) from error
        if found.shape != (len(patches), self.dimensions):
            raise self._unfit(f"it returned shape {found.shape} for {len(patches)} patches")
        vectors = np.asarray(found, np.float32)
        if not np.isfinite(vectors).all():
            raise self._unfit("it returned values that are not finite")
        return vectors

    def _unfit(self, cause: str) -> Exception:
        return not_ready(self.name, self.version, cause)
