from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from parfocal import Client
from parfocal_inference.oip.v2 import inference_pb2, inference_pb2_grpc

Up = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Starts `parfocal up` as a process of its own; ends what a test left running."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PARFOCAL_GRACE_SECONDS": "1",
    }
    with ExitStack() as stack:

        def start(
            *options: str, settings: Mapping[str, str] | None = None
        ) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "parfocal.cli", "up", "--no-browser", *options]
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    env={**environment, **(settings or {})},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line


def test_a_server_is_ready_when_its_port_answers_and_drains_when_told_to(
    up: Up, tmp_path: Path
) -> None:
    port = free_port()
    process = up("--port", str(port), "--data-dir", str(tmp_path))

    # Refused connections are no answer: gRPC waits here until the port opens.
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = inference_pb2.ServerReadyRequest()
        ready = stub.ServerReady(request, wait_for_ready=True, timeout=60).ready
        with Client(f"127.0.0.1:{port}", token=(tmp_path / "token").read_text()) as client:
            client.projects.create("vnc")
    told = [first_line(process) for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=30)

    assert ready
    assert told[0].startswith(f"Parfocal is ready at 127.0.0.1:{port}")
    assert told[2].strip().startswith(f"grpc://127.0.0.1:{port}/?token=")
    assert process.returncode == 0
    assert complaints == ""
    assert not (tmp_path / "server.json").exists()


def test_a_second_server_on_the_folder_is_refused_and_a_killed_one_gives_way(
    up: Up, tmp_path: Path
) -> None:
    first = up("--port", "0", "--data-dir", str(tmp_path))
    first_line(first)

    second = up("--port", "0", "--data-dir", str(tmp_path))
    _, complaint = second.communicate(timeout=60)
    first.kill()
    first.wait()
    third = up("--port", "0", "--data-dir", str(tmp_path))
    told = first_line(third)

    assert second.returncode == 4
    assert complaint.startswith(f"error: {tmp_path} is in use by process {first.pid}")
    assert complaint.count("\n") == 1
    assert told.startswith("Parfocal is ready")


def test_the_data_folder_may_be_a_path_that_goes_up(up: Up, tmp_path: Path) -> None:
    process = up("--port", "0", "--data-dir", f"{tmp_path}/inside/../data")

    assert first_line(process).endswith(f"data in {tmp_path}/data\n")


@pytest.mark.parametrize("name", ["what?", "a%20b", "ä #;&"])
def test_databases_lie_in_the_data_folder_whatever_it_is_called(
    up: Up, tmp_path: Path, name: str
) -> None:
    first_line(up("--port", "0", "--data-dir", str(tmp_path / name)))

    databases = [file for file in tmp_path.rglob("*") if file.name.endswith(".sqlite")]
    assert sorted(file.name for file in databases) == ["labels.sqlite", "loop.sqlite"]
    assert {file.parent for file in databases} == {tmp_path / name}
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
def test_a_data_folder_that_cannot_be_made_is_one_readable_line(
    up: Up, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()

    process = up("--port", "0", "--data-dir", str(tmp_path / place))
    _, complaint = process.communicate(timeout=60)

    assert process.returncode == 2
    assert complaint.startswith(f"error: {tmp_path / place}: ")
    assert complaint.count("\n") == 1


def test_a_disk_that_takes_no_more_is_one_readable_line(tmp_path: Path) -> None:
    # Beyond a limit on the size of files, a write fails as it does on a full disk.
    command = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        f"from parfocal.cli._app import app; app(['up', '--port', '0', '--data-dir', '{tmp_path}'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(
        [sys.executable, "-B", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}: File too large\n"


@pytest.mark.parametrize(
    ("service", "database", "code"),
    [
        ("LABELS", "postgresql://nobody@127.0.0.1:1/none", 6),
        ("LABELS", "sqlite:////proc/none/labels.sqlite", 6),
        ("LABELS", "mysql://none", 2),
        ("LOOP", "postgresql://nobody@127.0.0.1:1/none", 6),
    ],
)
def test_a_database_that_cannot_be_used_is_named_last_and_without_a_trace(
    up: Up, tmp_path: Path, service: str, database: str, code: int
) -> None:
    settings = {f"PARFOCAL_{service}_DATABASE": database}

    process = up("--port", "0", "--data-dir", str(tmp_path), settings=settings)
    _, complaint = process.communicate(timeout=60)

    assert process.returncode == code
    assert complaint.splitlines()[-1].startswith("error: the database ")
    assert "Traceback" not in complaint


def test_a_port_that_is_taken_is_one_readable_line(up: Up, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        process = up("--port", str(port), "--data-dir", str(tmp_path))
        _, complaint = process.communicate(timeout=60)

    assert process.returncode == 2
    assert complaint.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert not (tmp_path / "server.json").exists()
