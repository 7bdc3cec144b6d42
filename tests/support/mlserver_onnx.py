"""An ONNX model as MLServer serves it, with no more around it than it must have.

MLServer runs this in its own environment; `mlserver_process.py` starts it and says with which
execution provider.
"""

from __future__ import annotations

import os

import onnxruntime as ort
from mlserver import MLModel  # type: ignore[import-not-found]  # lives in its own environment
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import (  # type: ignore[import-not-found]
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
)
from mlserver.utils import get_model_uri  # type: ignore[import-not-found]

_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(uint8)": "UINT8",
    "tensor(int64)": "INT64",
    "tensor(bool)": "BOOL",
}


class OnnxModel(MLModel):  # type: ignore[misc]  # of another environment
    """Runs requests in ONNX Runtime, with one thread a run."""

    async def load(self) -> bool:
        """Open the graph."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        file = await get_model_uri(self._settings)
        provider = os.environ["ONNX_PROVIDER"]
        if provider != "CPUExecutionProvider":
            ort.preload_dlls()
        self._session = ort.InferenceSession(file, options, providers=[provider])
        if self._session.get_providers()[0] != provider:
            raise RuntimeError(f"{provider} cannot be used here")
        self.inputs = [_metadata(node) for node in self._session.get_inputs()]
        self.outputs = [_metadata(node) for node in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run a request."""
        feed = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        wanted = [each.name for each in payload.outputs or self.outputs]
        found = self._session.run(wanted, feed)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                NumpyCodec.encode_output(name, array)
                for name, array in zip(wanted, found, strict=True)
            ],
        )


def _metadata(node: ort.NodeArg) -> MetadataTensor:
    shape = [side if isinstance(side, int) else -1 for side in node.shape]
    return MetadataTensor(name=node.name, datatype=_DATATYPES[node.type], shape=shape)
