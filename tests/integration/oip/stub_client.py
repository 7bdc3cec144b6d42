"""What a client made from KServe's or MLServer's stubs does, in its own environment; prints JSON.

Arguments: `kserve` or `mlserver`, address of the server, bearer token of a viewer, bearer token of
an admin.
"""

import json
import sys
from typing import Any

import grpc
import numpy as np
from foreign_stubs import stubs  # type: ignore[import-not-found]  # lies beside this script

dialect, address, token, admin_token = sys.argv[1:]
viewer = [("authorization", f"Bearer {token}")]
admin = [("authorization", f"Bearer {admin_token}")]
channel = grpc.insecure_channel(address)
if dialect == "kserve":
    pb = repository_pb = stubs("kserve.protocol.grpc.grpc_predict_v2_pb2")
    services = stubs("kserve.protocol.grpc.grpc_predict_v2_pb2_grpc")
    stub = repository = services.GRPCInferenceServiceStub(channel)
else:
    pb = stubs("mlserver.grpc.dataplane_pb2")
    stub = stubs("mlserver.grpc.dataplane_pb2_grpc").GRPCInferenceServiceStub(channel)
    repository_pb = stubs("mlserver.grpc.model_repository_pb2")
    services = stubs("mlserver.grpc.model_repository_pb2_grpc")
    repository = services.ModelRepositoryServiceStub(channel)

image = np.random.default_rng(3).integers(0, 256, (2, 1, 4, 8, 8), dtype=np.uint8)
visiting = {"model_name": "visiting"}


def tensor(**contents: Any) -> Any:
    """Return the input of `base`."""
    return pb.ModelInferRequest.InferInputTensor(
        name="image", datatype="UINT8", shape=image.shape, **contents
    )


def infer(**request: Any) -> Any:
    """Return the answer of `base`."""
    return stub.ModelInfer(pb.ModelInferRequest(model_name="base", **request), metadata=viewer)


def failure(method: Any, request: Any) -> str:
    """Return the status with which a call of the viewer's ends."""
    try:
        method(request, metadata=viewer)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def is_ready(name: str) -> bool:
    """Return whether a model is ready."""
    return bool(stub.ModelReady(pb.ModelReadyRequest(name=name), metadata=viewer).ready)


def change(method: str) -> str:
    """Load or unload the model that comes and goes; return the answer as text."""
    request = getattr(repository_pb, f"{method}Request")(**visiting)
    return str(getattr(repository, method)(request, metadata=admin)).replace("\n", " ").strip()


raw = infer(id="lab-1", inputs=[tensor()], raw_input_contents=[image.tobytes()])
typed = infer(
    inputs=[tensor(contents=pb.InferTensorContents(uint_contents=image.ravel().tolist()))],
    outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="probability")],
    parameters={"priority": pb.InferParameter(int64_param=1)},
)
metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="base"), metadata=viewer)
seen = {
    "live": stub.ServerLive(pb.ServerLiveRequest(), metadata=viewer).live,
    "ready": stub.ServerReady(pb.ServerReadyRequest(), metadata=viewer).ready,
    "models_ready": [is_ready("base"), is_ready("broken")],
    "server": stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=viewer).name,
    "platform": metadata.platform,
    "inputs": [[each.name, each.datatype, list(each.shape)] for each in metadata.inputs],
    "id": raw.id,
    "output": [raw.outputs[0].name, raw.outputs[0].datatype, list(raw.outputs[0].shape)],
    "image": image.ravel().tolist(),
    "probability": np.frombuffer(raw.raw_output_contents[0], np.float32).tolist(),
    "typed_is_raw": typed.raw_output_contents[0] == raw.raw_output_contents[0],
    "unknown": failure(stub.ModelInfer, pb.ModelInferRequest(model_name="none")),
    "bad": failure(stub.ModelInfer, pb.ModelInferRequest(model_name="base", inputs=[tensor()])),
    "refused": failure(
        repository.RepositoryModelLoad, repository_pb.RepositoryModelLoadRequest(**visiting)
    ),
    "loaded": change("RepositoryModelLoad"),
    "unloaded": change("RepositoryModelUnload"),
    "ready_after_unload": is_ready("visiting"),
}
change("RepositoryModelLoad")
seen["ready_after_load"] = is_ready("visiting")
if dialect == "mlserver":
    index = repository.RepositoryIndex(repository_pb.RepositoryIndexRequest(), metadata=viewer)
    seen["states"] = {each.name: each.state for each in index.models}
print(json.dumps(seen))
