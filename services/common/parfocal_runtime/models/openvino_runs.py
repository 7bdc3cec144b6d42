"""Graphs that OpenVINO runs on the processor.

OpenVINO is used by itself and not as a provider of ONNX Runtime. That one (1.24, of OpenVINO
2025.4) takes the place of `onnxruntime`, and with one thread answers a run that failed with the
outputs of the run before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any

import numpy as np

from parfocal_runtime.models.datatypes import Array

_BESIDE_THE_POINT = ("Exception from", "Check '", "FrontEnd API", "Summary:", "To facilitate")


def is_there() -> bool:
    """Return whether the package is installed."""
    return find_spec("openvino") is not None


class OpenVinoRuns:
    """A graph compiled for the processor, to be run from any number of threads at once.

    Args:
        model: A serialised ONNX model.
        settings: Settings of OpenVINO by its names.
        runs: How many runs there may be at once; further ones wait.

    Raises:
        RuntimeError: If OpenVINO cannot compile it.
    """

    def __init__(self, model: bytes, settings: Mapping[str, str], runs: int) -> None:
        import openvino

        try:
            core = openvino.Core()
            self._compiled: Any = core.compile_model(core.read_model(model), "CPU", dict(settings))
        except RuntimeError as error:
            raise RuntimeError(_cause(error)) from error
        self._inputs = _places(self._compiled.inputs)
        self._outputs = _places(self._compiled.outputs)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(runs):
            self._free.put(self._compiled.create_infer_request())

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run the graph once and return the outputs wanted, in that order.

        Args:
            inputs: An array for each input by name, of its element type.
            outputs: Names of the outputs wanted.

        Raises:
            RuntimeError: If it cannot run on these inputs.
        """
        request = self._free.get()
        try:
            # Inputs that nothing in the graph looks at are no inputs to OpenVINO.
            feed = {
                at: np.ascontiguousarray(inputs[name])
                for name, at in self._inputs.items()
                if name in inputs
            }
            # Its `infer` is silent about a run that failed, where there is one thread.
            request.start_async(feed, share_inputs=True)
            request.wait()
            # Its own arrays are overwritten by the next run.
            tensors = [request.get_output_tensor(self._outputs[name]) for name in outputs]
            return [np.array(tensor.data) for tensor in tensors]
        except RuntimeError as error:
            raise RuntimeError(_cause(error)) from error
        finally:
            self._free.put(request)


def _places(ports: Sequence[Any]) -> dict[str, int]:
    """Return the number of each input or output by its names."""
    return {name: at for at, port in enumerate(ports) for name in port.get_names()}


def _cause(error: Exception) -> str:
    """Return what an error says, without the places in OpenVINO's sources and its advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_BESIDE_THE_POINT)]
    return " ".join(told) or "OpenVINO gives no reason"
