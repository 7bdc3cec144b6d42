"""Runs on a device with inputs and outputs bound to memory: one copy in, one copy out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from parfocal_runtime.models.datatypes import Array

_MOST_SHAPES = 16

_Key = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class BoundOutput:
    """What is known of an output before a run.

    Attributes:
        dtype: Its element type.
        sides: Its sides behind the rows, of which there are as many as every input has; None where
            its shape is not known before it is there.
    """

    dtype: np.dtype[np.generic]
    sides: tuple[int, ...] | None = None


@dataclass
class _Binding:
    """Buffers on the device for inputs of one shape; used by one run at a time."""

    values: dict[str, ort.OrtValue]
    binding: ort.IOBinding


@dataclass
class _Shelf:
    """The bindings for one shape that no run uses now."""

    idle: list[_Binding] = field(default_factory=list)


class BoundRuns:
    """Runs a session with buffers that are kept for each shape of the inputs.

    A run overwrites every byte of the inputs' buffers, and its outputs are written to arrays of
    their own, so nothing of a run is left for the next. Safe from many threads: runs at the same
    time have buffers of their own. The buffers of the shapes used last are kept.

    Args:
        session: What runs.
        outputs: What is known of the outputs of its graph, by name.
        device: Kind of memory that inputs are copied to, and its number: `("cuda", 0)`.
        options: How each run is made.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        outputs: Mapping[str, BoundOutput],
        *,
        device: tuple[str, int],
        options: ort.RunOptions | None = None,
    ) -> None:
        self._session = session
        self._outputs = outputs
        self._device = device
        self._options = options
        self._lock = threading.Lock()
        self._shelves: OrderedDict[_Key, _Shelf] = OrderedDict()

    def run(self, wanted: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """Return the outputs wanted, in that order, for the arrays of `feed`."""
        with self._taken(feed) as taken:
            for name, array in feed.items():
                taken.values[name].update_inplace(np.asarray(array, order="C"))
            taken.binding.clear_binding_outputs()
            rows = _rows(feed)
            arrays = [self._bound(taken.binding, name, rows) for name in wanted]
            self._session.run_with_iobinding(taken.binding, self._options)
            known = [array for array in arrays if array is not None]
            return known if len(known) == len(arrays) else taken.binding.copy_outputs_to_cpu()

    def _bound(self, binding: ort.IOBinding, name: str, rows: int | None) -> Array | None:
        """Bind an output to an array of its own; where its shape is not known, return None."""
        output = self._outputs[name]
        if output.sides is None or rows is None:
            binding.bind_output(name)
            return None
        array: Array = np.empty((rows, *output.sides), output.dtype)
        binding.bind_output(name, "cpu", 0, output.dtype, array.shape, array.ctypes.data)
        return array

    @contextmanager
    def _taken(self, feed: Mapping[str, Array]) -> Iterator[_Binding]:
        key = tuple((name, array.dtype.str, array.shape) for name, array in feed.items())
        with self._lock:
            shelf = self._shelves.setdefault(key, _Shelf())
            self._shelves.move_to_end(key)
            if len(self._shelves) > _MOST_SHAPES:
                self._shelves.popitem(last=False)
            taken = shelf.idle.pop() if shelf.idle else None
        if taken is None:
            taken = self._made(feed)
        yield taken
        # After a failure the buffers are let go: nobody knows what the device does with them.
        with self._lock:
            shelf.idle.append(taken)

    def _made(self, feed: Mapping[str, Array]) -> _Binding:
        kind, number = self._device
        binding = self._session.io_binding()
        values = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, kind, number)
            for name, array in feed.items()
        }
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        return _Binding(values, binding)


def _rows(feed: Mapping[str, Array]) -> int | None:
    """Return how many rows all inputs have, or None if they do not have the same number."""
    counts = {array.shape[0] if array.shape else None for array in feed.values()}
    return counts.pop() if len(counts) == 1 else None
