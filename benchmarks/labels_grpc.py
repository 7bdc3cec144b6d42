"""The label service as a process of its own, for `labels.py`."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc.aio
from labels_queue import PROJECT

from parfocal.labels.v1 import label_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_runtime.auth import Role, write_token

COUNT = 20
_ANNOTATORS = 64
_PARENT = f"projects/{PROJECT}"


class OverGrpc:
    """The store behind its gRPC service, with tokens, metrics and audit as in production."""

    def __init__(self, dsn: str, folder: str) -> None:
        self._dsn = dsn
        self._folder = Path(folder)
        self._tokens: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Any = None
        self._stub: Any = None

    async def _connected(self) -> Any:
        if self._stub is None:
            self._start()
            await asyncio.wait_for(self._channel.channel_ready(), 60)
            self._stub = LabelsServiceStub(self._channel)
            # The port answers before the service does.
            while True:
                try:
                    await self._lease(next(iter(self._tokens)), 1)
                    break
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.1)
        return self._stub

    def _start(self) -> None:
        tokens = self._folder / "tokens"
        names = [f"annotator-{number}" for number in range(_ANNOTATORS)]
        self._tokens = {name: write_token(tokens, name=name, role=Role.ANNOTATOR) for name in names}
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environment = {
            **os.environ,
            "PARFOCAL_LABELS_PORT": str(port),
            "PARFOCAL_LABELS_DATABASE": self._dsn,
            "PARFOCAL_STORE_URI": self._folder.as_uri(),
            "PARFOCAL_TOKENS_FILE": str(tokens),
            "PARFOCAL_AUDIT_FILE": str(self._folder / "audit.jsonl"),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "parfocal_labels"], env=environment, stderr=subprocess.DEVNULL
        )
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    def _caller(self, annotator: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._tokens[annotator]}"),)

    async def _lease(self, annotator: str, count: int) -> list[str]:
        request = pb.LeaseQueriesRequest(parent=_PARENT, count=count)
        answer = await self._stub.LeaseQueries(request, metadata=self._caller(annotator))
        return [leased.query.name for leased in answer.queries]

    async def lease(self, annotator: str) -> list[str]:
        await self._connected()
        return await self._lease(annotator, COUNT)

    async def submit(self, annotator: str, queries: Sequence[str], request_id: str) -> None:
        request = pb.SubmitLabelsRequest(
            parent=_PARENT,
            answers=[
                pb.Answer(query=query, verdict=label_pb2.VERDICT_TRUE, seconds=1.5)
                for query in queries
            ],
            request_id=request_id,
            client="benchmark/1",
        )
        await self._stub.SubmitLabels(request, metadata=self._caller(annotator))

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, 30)
