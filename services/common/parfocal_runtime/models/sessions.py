"""Sessions that run graphs where they were told to, on as many threads as there are."""

from __future__ import annotations

import ctypes
import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from parfocal_runtime.errors import DomainError, Exhausted, InvalidInput
from parfocal_runtime.models.datatypes import BF16, BYTES, NUMPY, ONNX, Array
from parfocal_runtime.models.openvino_runs import OpenVinoRuns
from parfocal_runtime.models.providers import (
    CPU,
    ON_GPU,
    OPENVINO,
    SessionOptions,
    available,
    openvino_settings,
    require,
    threads_of,
    unavailable,
    with_settings,
)
from parfocal_runtime.models.shape_sessions import ShapeSessions
from parfocal_runtime.models.side_by_side import SideBySide

__all__ = [
    "CPU",
    "ModelSession",
    "SessionOptions",
    "TensorSpec",
    "check_providers",
    "invalid_model",
    "open_session",
]

# ONNX Runtime's errors share no base class; a ValueError says that an input is not there, and a
# RuntimeError that a bound run failed or a provider could not be set up.
_FAILURES: tuple[type[Exception], ...] = (
    MemoryError,
    ValueError,
    RuntimeError,
    *(
        error
        for error in vars(ort_errors).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
)
# What the arena and CUDA say; their errors have no class of their own.
_NO_MEMORY = (
    "Failed to allocate memory",
    "bad_alloc",
    "is smaller than requested bytes",
    "out of memory",
)
# OpenVINO computes with 32 bits what has 64, and numpy has no arrays of the others.
_NOT_ON_OPENVINO = {
    "inputs": {BF16, BYTES, "FP64", "INT64", "UINT64"},
    "outputs": {BF16, BYTES, "FP64"},
}
_ERRORS_ONLY = 3
_FATAL_ONLY = 4
_ONNX_BFLOAT16 = 16


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: Its name in the graph.
        datatype: Element type by the Open Inference Protocol's name, such as `FP32`.
        shape: Sides; -1 is free. Empty for a single value, and where the graph does not tell
            the number of sides.
        symbols: The graph's name of each side that is free and has one, else an empty string.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    symbols: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Element type of the numpy arrays that carry it."""
        return NUMPY[self.datatype]

    @property
    def has_batch(self) -> bool:
        """Whether the first side is free, that is: counts rows."""
        return bool(self.shape) and self.shape[0] == -1

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether an array of `shape` fits."""
        if not self.shape:
            return True
        return len(shape) == len(self.shape) and all(
            side >= 0 and wanted in (-1, side)
            for side, wanted in zip(shape, self.shape, strict=True)
        )


class ModelSession:
    """A graph that is ready to run, from any number of threads at once.

    Attributes:
        inputs: Inputs in the order of the graph.
        outputs: Outputs in the order of the graph.
        providers: Execution providers in use, best first.
        on_gpu: Whether it runs on a GPU, where each new shape of the inputs costs time and memory.
        rounds: Whether it computes with fewer bits than the graph says.
        rows_at_once: How many independent rows are best run at a time; None is any number.
        side_by_side: What makes its runs side by side, each with one thread; None where each has
            all threads.

    Args:
        session: The graph, opened.
        options: How it was opened.
        reopened: Opens it again: on a GPU there is a session for each shape of the inputs.
    """

    on_gpu: bool = False
    rounds: bool = False
    rows_at_once: int | None = None
    side_by_side: SideBySide | None = None

    def __init__(
        self,
        session: ort.InferenceSession,
        options: SessionOptions | None = None,
        *,
        reopened: Callable[[], ort.InferenceSession] | None = None,
    ) -> None:
        options = options or SessionOptions()
        self._session = session
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.on_gpu = options.on_gpu
        self.rounds = options.rounds
        datatypes = {spec.datatype for spec in (*self.inputs, *self.outputs)}
        self._half = BF16 in datatypes
        self._options = _run_options(options)
        # Copies to the device and back are part of a run, in which other threads go on: binding
        # inputs to buffers there holds the interpreter while another run is at work (decision 28).
        self._shapes: ShapeSessions | None = None
        if reopened is not None and self.on_gpu:
            self._shapes = ShapeSessions(session, reopened)

    @property
    def places(self) -> tuple[ModelSession, ...]:
        """One session for each place that the model runs in."""
        return (self,)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the graph once.

        Args:
            inputs: An array for each input, of its element type and a shape that fits; BYTES are
                object arrays of `bytes` or `str`, BF16 is uint16 bits.
            outputs: Names of the outputs wanted; None is all.

        Returns:
            The outputs by name, in the order wanted; BYTES are object arrays of `bytes`.

        Raises:
            InvalidInput: If the graph cannot run on these arrays (`ERROR_REASON_INVALID_FIELD`).
            Exhausted: If the device has no memory left for them (`ERROR_REASON_MODEL_MEMORY`).
        """
        wanted = [spec.name for spec in self.outputs] if outputs is None else list(outputs)
        types = {spec.name: spec.datatype for spec in (*self.inputs, *self.outputs)}
        feed = {
            name: _text(name, array) if types.get(name) == BYTES else array
            for name, array in inputs.items()
        }
        try:
            found = self._run(wanted, feed, types)
        except _FAILURES as error:
            raise _failure(error) from error
        return {
            name: _encoded(array) if types[name] == BYTES else array
            for name, array in zip(wanted, found, strict=True)
        }

    def _run(
        self, wanted: list[str], feed: dict[str, Array], types: Mapping[str, str]
    ) -> list[Array]:
        if self._shapes is None:
            return self._run_in(self._session, wanted, feed, types)
        return self._shapes.run(feed, lambda session: self._run_in(session, wanted, feed, types))

    def _run_in(
        self,
        session: ort.InferenceSession,
        wanted: list[str],
        feed: Mapping[str, Array],
        types: Mapping[str, str],
    ) -> list[Array]:
        if not self._half:
            return list(session.run(wanted, feed, self._options))
        values = {name: _to_value(array, types[name]) for name, array in feed.items()}
        found = session.run_with_ort_values(wanted, values, self._options)
        return [_from_value(value) for value in found]


class OpenVinoSession(ModelSession):
    """A graph that OpenVINO runs.

    Args:
        described: A session of the same graph, for its inputs and outputs.
        runs: The graph, compiled.
        options: How it was compiled.
    """

    def __init__(
        self, described: ModelSession, runs: OpenVinoRuns, options: SessionOptions
    ) -> None:
        self.inputs, self.outputs = described.inputs, described.outputs
        self.providers = (OPENVINO,)
        self.rounds = options.rounds
        self._runs = runs

    def _run(
        self, wanted: list[str], feed: dict[str, Array], types: Mapping[str, str]
    ) -> list[Array]:
        if feed.keys() != {spec.name for spec in self.inputs}:
            raise ValueError(f"its inputs are {', '.join(spec.name for spec in self.inputs)}")
        for spec in self.inputs:
            array = feed[spec.name]
            if array.dtype != spec.dtype or not spec.fits(array.shape):
                raise ValueError(f"{spec.name} does not fit: {array.dtype} {array.shape}")
        return self._runs.run(feed, wanted)


def open_session(
    model: bytes, *, options: SessionOptions | None = None, runs: int = 1
) -> ModelSession:
    """Return a session for a serialised ONNX model.

    Args:
        model: The model.
        options: How it runs.
        runs: How many runs at once it is meant for. OpenVINO lets further ones wait.

    Raises:
        InvalidInput: If it is no model that can be loaded (`ERROR_REASON_INVALID_MODEL`).
        WrongState: If a provider that was demanded is not in use
            (`ERROR_REASON_PROVIDER_UNAVAILABLE`).
    """
    options = options or SessionOptions()
    if OPENVINO in options.providers and not options.on_gpu:
        return _on_openvino(model, options, runs)
    session = _opened(model, options)
    unknown = [
        node.name
        for node in (*session.get_inputs(), *session.get_outputs())
        if node.type not in ONNX
    ]
    if unknown:
        raise invalid_model(f"these are not dense tensors of a known type: {', '.join(unknown)}")
    try:
        return ModelSession(session, options, reopened=lambda: _opened(model, options))
    except UnicodeDecodeError as error:
        raise invalid_model("its names are not UTF-8") from error


def check_providers(options: SessionOptions) -> None:
    """Open a session for the least graph there is, to see whether models can run so at all.

    Raises:
        WrongState: If a provider cannot be used (`ERROR_REASON_PROVIDER_UNAVAILABLE`).
    """
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "least", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    on_gpu = tuple(name for name in options.providers if name in ON_GPU)
    others = tuple(name for name in options.providers if name not in ON_GPU)
    for providers in filter(None, (on_gpu, others)):
        open_session(model.SerializeToString(), options=replace(options, providers=providers))


def invalid_model(cause: str) -> InvalidInput:
    """Return the error for a file that is no model that can be served."""
    return InvalidInput(
        "ERROR_REASON_INVALID_MODEL",
        f"this is not an ONNX model that can be served: {cause}",
        field="model",
        cause=cause,
    )


def _on_openvino(model: bytes, options: SessionOptions, runs: int) -> ModelSession:
    require(options.providers, available())
    # ONNX Runtime tells what the graph takes and gives, and whether it is one at all.
    described = open_session(model, options=SessionOptions(threads=1))
    for side, specs in (("inputs", described.inputs), ("outputs", described.outputs)):
        for spec in specs:
            if spec.datatype in _NOT_ON_OPENVINO[side]:
                cause = (
                    f"it cannot keep all bits of {spec.datatype}: {spec.name}, one of the {side}"
                )
                raise unavailable(OPENVINO, cause)
    try:
        return OpenVinoSession(
            described, OpenVinoRuns(model, openvino_settings(options, runs), runs), options
        )
    except _FAILURES as error:
        raise unavailable(OPENVINO, f"it cannot run this graph: {_first_line(error)}") from error


def _opened(model: bytes, options: SessionOptions) -> ort.InferenceSession:
    require(options.providers, available())
    if options.on_gpu:
        _find_libraries()
    try:
        # Without `enable_fallback` a provider that fails, now or in a run, is replaced by the CPU.
        session = ort.InferenceSession(
            model,
            sess_options=_settings(options),
            providers=with_settings(options),
            enable_fallback=0,
        )
    except _FAILURES as error:
        if options.providers != (CPU,):
            # The model is at fault only if it cannot be opened without the provider either.
            _opened(model, SessionOptions(threads=options.threads))
            raise unavailable(options.providers[0], _first_line(error)) from error
        raise invalid_model(_first_line(error)) from error
    # A provider that cannot start is only logged, and the CPU silently takes its place.
    require(options.providers, session.get_providers())
    if options.on_gpu:
        # It tells of every plan that cuDNN does not have before it takes one that it has.
        ort.set_default_logger_severity(_FATAL_ONLY)
    return session


@cache
def _find_libraries() -> None:
    """Load the libraries of CUDA that lie in wheels beside ONNX Runtime's own."""
    if hasattr(ort, "preload_dlls"):
        # It prints what it does not find; whether that is missed, the session tells.
        with redirect_stdout(io.StringIO()):
            ort.preload_dlls()


def _settings(options: SessionOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads_of(options)
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    # Idle workers that spin take the processor from the threads that feed them.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def _run_options(options: SessionOptions) -> ort.RunOptions | None:
    if not (options.shrinks and options.on_gpu):
        return None
    settings = ort.RunOptions()
    settings.add_run_config_entry("memory.enable_memory_arena_shrinkage", f"gpu:{options.device}")
    return settings


def _failure(error: Exception) -> DomainError:
    cause = _first_line(error)
    if any(words in str(error) for words in _NO_MEMORY):
        return Exhausted(
            "ERROR_REASON_MODEL_MEMORY",
            f"the device has no memory left for a run on these inputs: {cause}",
            cause=cause,
        )
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD",
        f"the model cannot run on these inputs: {cause}",
        field="inputs",
    )


def _spec(node: ort.NodeArg) -> TensorSpec:
    free = [not isinstance(side, int) for side in node.shape]
    return TensorSpec(
        name=node.name,
        datatype=ONNX[node.type],
        shape=tuple(-1 if f else side for f, side in zip(free, node.shape, strict=True)),
        symbols=tuple(
            str(side or "") if f else "" for f, side in zip(free, node.shape, strict=True)
        ),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]


def _text(name: str, array: Array) -> Array:
    try:
        flat = [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "ERROR_REASON_INVALID_FIELD", f"{name} must hold UTF-8 text", field=name
        ) from error
    return _objects(flat, array.shape)


def _encoded(array: Array) -> Array:
    return _objects([str(item).encode() for item in array.flat], array.shape)


def _objects(items: Sequence[str | bytes], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return array.reshape(shape)


def _to_value(array: Array, datatype: str) -> ort.OrtValue:
    if datatype == BF16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            np.ascontiguousarray(array), _ONNX_BFLOAT16
        )
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _from_value(value: ort.OrtValue) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    shape = value.shape()
    bits = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape))
    return np.frombuffer(bits, dtype=np.uint16).reshape(shape)
