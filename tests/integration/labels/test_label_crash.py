from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from parfocal.labels.v1 import label_pb2, project_pb2, query_pb2
from parfocal.labels.v1 import labels_service_pb2 as pb
from parfocal.labels.v1.labels_service_pb2_grpc import LabelsServiceStub
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.channels import sync_channel

ANNOTATORS = 8
KILLS = 2
ACKNOWLEDGED_BEFORE_A_KILL = 25
QUERIES = 900
VNC = "projects/vnc"


@dataclass
class Service:
    """The service as a process of its own, killed and started again at will."""

    environment: dict[str, str]
    address: str = ""
    process: subprocess.Popen[bytes] = field(init=False)
    draining: threading.Thread = field(init=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "parfocal_labels"]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE)
        log = self.process.stderr
        assert log is not None
        events = map(json.loads, log)
        self.address = next(each["address"] for each in events if each["event"] == "listening")
        # A full pipe would stop the service.
        self.draining = threading.Thread(target=log.read)
        self.draining.start()
        with sync_channel(self.address) as channel:
            health: Any = HealthStub(channel)  # its stubs type the methods of servicers only
            watch = health.Watch(HealthCheckRequest(), wait_for_ready=True, timeout=60)
            next(answer for answer in watch if answer.status == HealthCheckResponse.SERVING)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.draining.join()
        with self.process:
            pass


@contextmanager
def service(dsn: str, folder: Path, tokens_file: Path) -> Iterator[Service]:
    running = Service(
        {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PARFOCAL_LABELS_PORT": "0",
            "PARFOCAL_LABELS_DATABASE": dsn,
            "PARFOCAL_STORE_URI": (folder / "store").as_uri(),
            "PARFOCAL_TOKENS_FILE": str(tokens_file),
        }
    )
    running.start()
    try:
        yield running
    finally:
        running.kill()


@dataclass
class Annotator:
    """Labels until the service goes away; remembers what was acknowledged and what was not."""

    token: str
    acknowledged: dict[str, list[str]] = field(default_factory=dict)
    pending: pb.SubmitLabelsRequest | None = None

    def work(self, address: str, told: queue.SimpleQueue[int]) -> None:
        with sync_channel(address, token=self.token) as channel:
            stub = LabelsServiceStub(channel)
            try:
                while self._turn(stub):
                    told.put(1)
            except grpc.RpcError as error:
                assert error.code() in (  # noqa: PT017
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.CANCELLED,
                )

    def settle(self, stub: Any) -> None:
        """Send again what was not acknowledged."""
        if self.pending is not None:
            self._submit(stub, self.pending)

    def _turn(self, stub: Any) -> bool:
        leased = stub.LeaseQueries(pb.LeaseQueriesRequest(parent=VNC, count=4)).queries
        if not leased:
            return False
        answers = [
            pb.Answer(query=each.query.name, verdict=label_pb2.VERDICT_TRUE) for each in leased
        ]
        self._submit(
            stub,
            pb.SubmitLabelsRequest(
                parent=VNC, answers=answers, request_id=f"{len(self.acknowledged)}"
            ),
        )
        return True

    def _submit(self, stub: Any, request: pb.SubmitLabelsRequest) -> None:
        self.pending = request
        labels = stub.SubmitLabels(request).labels
        self.acknowledged[request.request_id] = [label.name for label in labels]
        self.pending = None


def test_labels_that_were_acknowledged_survive_a_kill(dsn: str, tmp_path: Path) -> None:
    tokens_file = tmp_path / "tokens"
    curator = write_token(tokens_file, name="cur", role=Role.CURATOR)
    annotators = [
        Annotator(write_token(tokens_file, name=f"a{n}", role=Role.ANNOTATOR))
        for n in range(ANNOTATORS)
    ]
    with service(dsn, tmp_path, tokens_file) as running:
        with sync_channel(running.address, token=curator) as channel:
            fill(LabelsServiceStub(channel))

        for _ in range(KILLS):
            told: queue.SimpleQueue[int] = queue.SimpleQueue()
            with ThreadPoolExecutor(ANNOTATORS) as pool:
                working = [pool.submit(each.work, running.address, told) for each in annotators]
                for _ in range(ACKNOWLEDGED_BEFORE_A_KILL):
                    told.get(timeout=60)
                running.kill()
                for each in working:
                    each.result()
            running.start()
            for annotator in annotators:
                with sync_channel(running.address, token=annotator.token) as channel:
                    annotator.settle(LabelsServiceStub(channel))

        with sync_channel(running.address, token=curator) as channel:
            watch = LabelsServiceStub(channel).WatchLabels(
                pb.WatchLabelsRequest(parent=VNC, until_present=True)
            )
            events = [answer.event for answer in watch]

    acknowledged = [
        name
        for annotator in annotators
        for names in annotator.acknowledged.values()
        for name in names
    ]
    stored = [event.label.name for event in events]
    assert len(acknowledged) >= KILLS * ACKNOWLEDGED_BEFORE_A_KILL
    assert sorted(stored) == sorted(acknowledged)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert max(Counter(event.label.query for event in events).values()) == 1


def fill(stub: Any) -> None:
    stub.CreateProject(
        pb.CreateProjectRequest(
            project_id="vnc", project=project_pb2.Project(task_kind=project_pb2.TASK_KIND_VERIFY)
        )
    )
    stub.AddQueries(
        pb.AddQueriesRequest(
            parent=VNC,
            queries=[
                query_pb2.Query(round="r1", candidate_set="set", candidate=number, rank=number)
                for number in range(QUERIES)
            ],
        )
    )
