"""What the inference service does for a call besides gRPC, batcher and model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from layers import Context, Details, bearer

from parfocal_inference.answers import Answers
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving import Inference, Outcome
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.admission import AccessLayer
from parfocal_runtime.audit import AuditLayer, AuditLog
from parfocal_runtime.auth import Role, TokenFile, write_token
from parfocal_runtime.callers import Callers
from parfocal_runtime.calls import LayeredHandlers
from parfocal_runtime.interceptors import (
    DrainLayer,
    ErrorLayer,
    MetricsLayer,
    ReadinessLayer,
    RequestLayer,
)
from parfocal_runtime.metrics import GrpcMetrics, new_registry
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel, LoadedModels
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import LocalStore

if TYPE_CHECKING:
    from serving import Model

SERVICE, NAME = "inference.GRPCInferenceService", "ModelInfer"
RUNS, CALLS = 5, 2000


class Known:
    """Gives the same answer to everything, at once."""

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        return Outcome({"y": np.zeros((1, 10), np.float32)}, 0, 0)


async def around_a_call(model: Model) -> float:
    """Return the CPU time of a ModelInfer of one item in microseconds, the best of some runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = LocalStore(folder / "store")
        (folder / "model.onnx").write_bytes(model.graph)
        publish_file(store, model.name, folder / "model.onnx")
        models = LoadedModels(ModelRepository(store))
        models.refresh()
        token = write_token(folder / "tokens", name="ann", role=Role.VIEWER)
        answer = _layered(models, folder / "tokens")
        request, context = model.request(1), bearer(token)
        best = float("inf")
        for _ in range(RUNS):
            models.refresh()
            begin = time.process_time()
            for _ in range(CALLS):
                await answer(request, context)
            best = min(best, (time.process_time() - begin) / CALLS)
    return 1e6 * best


def _layered(models: LoadedModels, tokens: Path) -> Any:
    """Return the method with everything around it, in the order of a server."""
    answers = Answers(models, Inference(Known(), InferenceStatistics(models.loaded)))

    async def infer(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        return await answers.answer(request)

    handler: Any = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )
    layers = LayeredHandlers(
        [
            MetricsLayer(GrpcMetrics(new_registry())),
            RequestLayer(),
            ErrorLayer(),
            AuditLayer(AuditLog()),
            AccessLayer(Callers([TokenFile(tokens)])),
            DrainLayer(),
            ReadinessLayer(lambda name: True),
        ]
    )
    layers.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE, {NAME: handler})]
    )
    details: Any = Details(f"/{SERVICE}/{NAME}")
    wrapped: Any = layers.service(details)
    return wrapped.unary_unary
