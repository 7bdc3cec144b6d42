"""MLServer as a process of its own, beside which ours is measured and tried."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Mlserver:
    """A server that was started.

    Attributes:
        pid: Its process, which is the only one.
        port: Port of gRPC; it may not answer yet.
    """

    pid: int
    port: int


@contextmanager
def mlserver(
    python: Path,
    folder: Path,
    graphs: Mapping[str, bytes],
    *,
    max_batch_size: int = 0,
    max_batch_seconds: float = 0.0,
    provider: str = "CPUExecutionProvider",
) -> Iterator[Mlserver]:
    """Yield MLServer with models; it ends with the block.

    Args:
        python: The interpreter of an environment with `mlserver`, `onnxruntime` and a `uvloop`
            below 0.22, with which alone this version starts.
        folder: Where its files are put.
        graphs: ONNX graphs by the names of models.
        max_batch_size: Most requests that it batches; 0 is none, which is its default.
        max_batch_seconds: How long it waits for them.
        provider: Execution provider of ONNX Runtime that its models run on.
    """
    batching = {"max_batch_size": max_batch_size, "max_batch_time": max_batch_seconds}
    for name, graph in graphs.items():
        place = folder / name
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(graph)
        parameters = {"uri": "./model.onnx", "version": "1"}
        settings = {"name": name, "implementation": "mlserver_onnx.OnnxModel", **batching}
        _write(place / "model-settings.json", {**settings, "parameters": parameters})
    ports = dict(zip(("grpc_port", "http_port", "metrics_port"), _free_ports(3), strict=True))
    # Without workers, which cost it more than they gain: everything is in one process.
    server = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    _write(folder / "settings.json", {**server, "grpc_max_message_length": 64 << 20})
    # It runs in `folder`, from which a relative path leads elsewhere.
    command = [str(python.absolute().parent / "mlserver"), "start", str(folder.absolute())]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "ONNX_PROVIDER": provider}
    log = folder / "log"
    with (
        log.open("w") as lines,
        subprocess.Popen(
            command, env=environment, cwd=folder, stdout=lines, stderr=lines
        ) as running,
    ):
        try:
            yield Mlserver(running.pid, ports["grpc_port"])
        finally:
            running.kill()


def _write(file: Path, settings: Mapping[str, object]) -> None:
    file.write_text(json.dumps(settings))


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in listeners:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in listeners]
