"""Runs on a device with inputs and outputs bound to memory: one copy in, one copy out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from parfocal_runtime.models.datatypes import Array

MOST_SHAPES = 16
"""How many shapes of its inputs a graph is kept ready for."""

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
    """What there is for one shape: a session of its own, and the buffers that no run uses now."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    session: ort.InferenceSession | None = None
    idle: list[_Binding] = field(default_factory=list)


class BoundRuns:
    """Runs a graph with a session and buffers of their own for each shape of the inputs.

    cuDNN's plans are kept for the last shape alone, and made anew in a session that sees another
    one: that takes longer than hundreds of runs. So each shape has its session, made when it is
    first met; those used last are kept, and what the others took on the device is given back.

    A run overwrites every byte of the inputs' buffers, and its outputs are written to arrays of
    their own, so nothing of a run is left for the next. Safe from many threads: runs at the same
    time have buffers of their own.

    Args:
        first: The session of the shape that is met first.
        opened: Makes one for each shape after it.
        outputs: What is known of the outputs of its graph, by name.
        device: Kind of memory that inputs are copied to, and its number: `("cuda", 0)`.
        options: How each run is made.
        most_shapes: How many shapes are kept.
    """

    def __init__(
        self,
        first: ort.InferenceSession,
        opened: Callable[[], ort.InferenceSession],
        outputs: Mapping[str, BoundOutput],
        *,
        device: tuple[str, int],
        options: ort.RunOptions | None = None,
        most_shapes: int = MOST_SHAPES,
    ) -> None:
        self._spare: list[ort.InferenceSession] = [first]
        self._opened = opened
        self._outputs = outputs
        self._device = device
        self._options = options
        self._most_shapes = most_shapes
        self._lock = threading.Lock()
        self._shelves: OrderedDict[_Key, _Shelf] = OrderedDict()

    @property
    def shapes(self) -> int:
        """For how many shapes of the inputs there are sessions."""
        return len(self._shelves)

    def run(self, wanted: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """Return the outputs wanted, in that order, for the arrays of `feed`."""
        key = tuple((name, array.dtype.str, array.shape) for name, array in feed.items())
        try:
            return self._run(wanted, feed, self._shelf(key))
        except Exception:
            # What failed may hold memory that others need, and a shape that cannot run needs none.
            with self._lock:
                self._shelves.pop(key, None)
            raise

    def _run(self, wanted: Sequence[str], feed: Mapping[str, Array], shelf: _Shelf) -> list[Array]:
        session = self._session(shelf)
        with self._taken(shelf, session, feed) as taken:
            for name, array in feed.items():
                taken.values[name].update_inplace(np.asarray(array, order="C"))
            taken.binding.clear_binding_outputs()
            rows = _rows(feed)
            arrays = [self._bound(taken.binding, name, rows) for name in wanted]
            session.run_with_iobinding(taken.binding, self._options)
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

    def _shelf(self, key: _Key) -> _Shelf:
        with self._lock:
            shelf = self._shelves.setdefault(key, _Shelf())
            self._shelves.move_to_end(key)
            if len(self._shelves) > self._most_shapes:
                self._shelves.popitem(last=False)
        return shelf

    def _session(self, shelf: _Shelf) -> ort.InferenceSession:
        with shelf.lock:
            if shelf.session is None:
                with self._lock:
                    spare = self._spare.pop() if self._spare else None
                shelf.session = spare or self._opened()
            return shelf.session

    @contextmanager
    def _taken(
        self, shelf: _Shelf, session: ort.InferenceSession, feed: Mapping[str, Array]
    ) -> Iterator[_Binding]:
        with shelf.lock:
            taken = shelf.idle.pop() if shelf.idle else None
        if taken is None:
            taken = self._made(session, feed)
        yield taken
        with shelf.lock:
            shelf.idle.append(taken)

    def _made(self, session: ort.InferenceSession, feed: Mapping[str, Array]) -> _Binding:
        kind, number = self._device
        binding = session.io_binding()
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
