"""ONNX Runtime sessions that run where they were told to, on as many threads as there are."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.models.datatypes import BF16, BYTES, NUMPY, ONNX, Array
from parfocal_runtime.quota import cpu_threads

CPU = "CPUExecutionProvider"

# ONNX Runtime's errors share no base class; a ValueError says that an input is not there.
_FAILURES: tuple[type[Exception], ...] = (
    ValueError,
    *(
        error
        for error in vars(ort_errors).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
)
_ERRORS_ONLY = 3
_ONNX_BFLOAT16 = 16


@dataclass(frozen=True)
class SessionOptions:
    """How models run."""

    providers: tuple[str, ...] = (CPU,)
    """Execution providers of ONNX Runtime, all demanded, best first."""
    threads: int = 0
    """Threads of one run; 0 is what the CPU quota gives."""


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
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self._half = any(spec.datatype == BF16 for spec in (*self.inputs, *self.outputs))

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
            raise InvalidInput(
                "ERROR_REASON_INVALID_FIELD",
                f"the model cannot run on these inputs: {_first_line(error)}",
                field="inputs",
            ) from error
        return {
            name: _encoded(array) if types[name] == BYTES else array
            for name, array in zip(wanted, found, strict=True)
        }

    def _run(
        self, wanted: list[str], feed: dict[str, Array], types: Mapping[str, str]
    ) -> list[Array]:
        if not self._half:
            return list(self._session.run(wanted, feed))
        values = {name: _to_value(array, types[name]) for name, array in feed.items()}
        return [_from_value(value) for value in self._session.run_with_ort_values(wanted, values)]


def open_session(model: bytes, *, options: SessionOptions | None = None) -> ModelSession:
    """Return a session for a serialised ONNX model.

    Raises:
        InvalidInput: If it is no model that can be loaded (`ERROR_REASON_INVALID_MODEL`).
        WrongState: If a provider that was demanded is not in use
            (`ERROR_REASON_PROVIDER_UNAVAILABLE`).
    """
    options = options or SessionOptions()
    _require(options.providers, ort.get_available_providers())
    try:
        session = ort.InferenceSession(
            model, sess_options=_settings(options), providers=list(options.providers)
        )
    except _FAILURES as error:
        raise invalid_model(_first_line(error)) from error
    # A provider that cannot start is only logged, and the CPU silently takes its place.
    _require(options.providers, session.get_providers())
    unknown = [
        node.name
        for node in (*session.get_inputs(), *session.get_outputs())
        if node.type not in ONNX
    ]
    if unknown:
        raise invalid_model(f"these are not dense tensors of a known type: {', '.join(unknown)}")
    try:
        return ModelSession(session)
    except UnicodeDecodeError as error:
        raise invalid_model("its names are not UTF-8") from error


def invalid_model(cause: str) -> InvalidInput:
    """Return the error for a file that is no model that can be served."""
    return InvalidInput(
        "ERROR_REASON_INVALID_MODEL",
        f"this is not an ONNX model that can be served: {cause}",
        field="model",
        cause=cause,
    )


def _settings(options: SessionOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or cpu_threads()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _ERRORS_ONLY
    # Idle workers that spin take the processor from the threads that feed them.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def _require(wanted: Sequence[str], available: Sequence[str]) -> None:
    for provider in wanted:
        if provider not in available:
            raise WrongState(
                "ERROR_REASON_PROVIDER_UNAVAILABLE",
                f"{provider} was demanded, only {', '.join(available)} can be used here",
                provider=provider,
                available=", ".join(available),
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
