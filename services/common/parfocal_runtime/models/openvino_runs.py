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

__all__ = ["OpenVinoRuns", "is_there"]

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
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(runs):
            self._free.put(self._compiled.create_infer_request())

    def run(self, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
        """Run the graph once.

        Args:
            inputs: An array for each input, in the graph's order and of its element type.
            outputs: Numbers of the outputs wanted, in the graph's order.

        Raises:
            RuntimeError: If it cannot run on these inputs.
        """
        request = self._free.get()
        try:
            feed = {at: np.ascontiguousarray(each) for at, each in enumerate(inputs)}
            # Its `infer` is silent about a run that failed, where there is one thread.
            request.start_async(feed, share_inputs=True)
            request.wait()
            # Its own arrays are overwritten by the next run.
            return [np.array(request.get_output_tensor(at).data) for at in outputs]
        except RuntimeError as error:
            raise RuntimeError(_cause(error)) from error
        finally:
            self._free.put(request)


def _cause(error: Exception) -> str:
    """Return what an error says, without the places in OpenVINO's sources and its advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_BESIDE_THE_POINT)]
    return " ".join(told) or "OpenVINO gives no reason"
