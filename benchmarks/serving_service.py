"""The inference service as a process of its own, for `serving.py`.

    python benchmarks/serving_service.py EXECUTOR

The settings are those of the service. EXECUTOR is `batching`, the service as it is; `threads`,
each request by itself in a thread, with no queue; or `accelerator`, batching in front of an engine
that takes the same time for a run whatever its size, as no processor does and an accelerator may.
With `echo` it is no service but gRPC alone: every call is answered with the same few bytes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc

from parfocal_inference.batching import BatchingExecutor
from parfocal_inference.config import PREFIX, InferenceConfig
from parfocal_inference.oip_servicer import oip_service
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving import Executor, Outcome
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.allocator import keep_large_buffers
from parfocal_runtime.config import from_env
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel, LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import ModelSession, SessionOptions
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.server import run
from parfocal_runtime.store import open_store
from parfocal_runtime.tasks import in_thread

ACCELERATOR_SECONDS = 0.005


class Threads:
    """Runs each request by itself, in a thread, as soon as one is free."""

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        asked = time.monotonic_ns()
        return await in_thread(self._run, model.session, inputs, outputs, asked)

    def _run(
        self,
        session: ModelSession,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        asked: int,
    ) -> Outcome:
        began = time.monotonic_ns()
        found = session.run(inputs, outputs)
        return Outcome(found, began - asked, time.monotonic_ns() - began)


class FixedCost(ModelSession):
    """A session that sleeps as long for many rows as for one: no such device is at hand here."""

    def __init__(self, session: ModelSession) -> None:
        self._inner = session
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        time.sleep(ACCELERATOR_SECONDS)
        return self._inner.run(inputs, outputs)


class Accelerated:
    """Batches in front of `FixedCost`."""

    def __init__(self, batching: BatchingExecutor) -> None:
        self._batching = batching
        self._models: dict[LoadedModel, LoadedModel] = {}

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        if model not in self._models:
            self._models[model] = replace(model, session=FixedCost(model.session))
        return await self._batching.run(self._models[model], inputs, outputs, schedule)


class Echo(grpc.GenericRpcHandler):
    """Answers every call with as many bytes as the classifier's answer has."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        return bytes(90)


async def echo(port: int) -> None:
    """Answer until told to stop."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until told to stop."""
    config = from_env(InferenceConfig, os.environ, PREFIX)
    if sys.argv[1] == "echo":
        asyncio.run(echo(config.port))
        return
    keep_large_buffers()
    models = LoadedModels(
        ModelRepository(open_store(config.store_uri)),
        options=SessionOptions(providers=config.providers, threads=config.session_threads),
    )
    statistics = InferenceStatistics(models.loaded)
    batching = BatchingExecutor(statistics)
    executors: dict[str, Executor] = {
        "batching": batching,
        "threads": Threads(),
        "accelerator": Accelerated(batching),
    }
    watcher = ModelWatcher(models, interval_seconds=config.model_poll_seconds)
    run([oip_service(models, watcher, executors[sys.argv[1]], statistics)], config)
    batching.close()


if __name__ == "__main__":
    main()
