"""The labels service and PostgreSQL as processes that a test may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from parfocal_runtime.channels import sync_channel

COMPONENTS = Path(__file__).resolve().parents[1] / "components"


@dataclass
class LabelsProcess:
    """The service as a process of its own, killed and started again at will."""

    environment: dict[str, str]
    address: str = ""
    process: subprocess.Popen[bytes] = field(init=False)
    _draining: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start it and wait until it serves."""
        command = [sys.executable, "-m", "parfocal_labels"]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE)
        log = self.process.stderr
        assert log is not None
        events = map(json.loads, log)
        self.address = next(each["address"] for each in events if each["event"] == "listening")
        # A full pipe would stop the service.
        self._draining = threading.Thread(target=deque, args=(log,), kwargs={"maxlen": 0})
        self._draining.start()
        with sync_channel(self.address) as channel:
            health: Any = HealthStub(channel)  # its stubs type the methods of servicers only
            watch = health.Watch(HealthCheckRequest(), wait_for_ready=True, timeout=60)
            next(answer for answer in watch if answer.status == HealthCheckResponse.SERVING)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self._draining.join()
        with self.process:
            pass

    def resident_bytes(self) -> int:
        """Memory that it has now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def labels_process(dsn: str, folder: Path, tokens_file: Path) -> Iterator[LabelsProcess]:
    """The service on a database, until the block ends."""
    running = LabelsProcess(
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


class PostgresProcess:
    """A PostgreSQL server of the test's own."""

    def __init__(self, process: subprocess.Popen[str], dsn: str) -> None:
        self._process = process
        self.dsn = dsn

    def kill(self) -> None:
        """End all its processes by SIGKILL, start it again and wait until it answers."""
        commands, answers = self._process.stdin, self._process.stdout
        assert commands is not None
        assert answers is not None
        commands.write("kill\n")
        commands.flush()
        assert answers.readline() == "done\n", "PostgreSQL did not start again"


@contextmanager
def postgres_process() -> Iterator[PostgresProcess]:
    """A server with an empty database, until the block ends."""
    with subprocess.Popen(
        [sys.executable, str(COMPONENTS / "postgres.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield PostgresProcess(process, process.stdout.readline().strip())
