"""Server reflection under both of its names, which speak the same messages."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

_V1 = "grpc.reflection.v1.ServerReflection"
REFLECTION_NAMES = (_V1, reflection.SERVICE_NAME)


def add_reflection(server: grpc.aio.Server, names: Sequence[str]) -> None:
    """Let clients ask `server` for the descriptors of the services called `names`."""
    # grpcio-reflection serves v1alpha only; newer clients ask for v1 first.
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer((*names, *REFLECTION_NAMES)).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, methods) for name in REFLECTION_NAMES]
    )
