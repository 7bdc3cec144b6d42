"""The inference service and its callers as processes of their own, and a watch over the GPU."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as pb_grpc

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TICKS = os.sysconf("SC_CLK_TCK")
CALLING_PROCESSES = 4
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
START_SECONDS = 90.0
WARM_SECONDS = 0.4


@dataclass(frozen=True)
class Load:
    """What callers got.

    Attributes:
        per_second: Answers a second.
        median_ms: Median time of a call, in milliseconds.
        batch: Mean rows of a run.
        cores: Processors that the service kept busy.
        gpu: Share of the time in which the GPU was busy, as the driver tells; None without one.
    """

    per_second: float
    median_ms: float
    batch: float
    cores: float
    gpu: float | None


class Watch:
    """What goes on in a thread of its own inside a `with` block, until `_done` is set."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()


class GpuWatch(Watch):
    """Asks the driver ten times a second how busy the first GPU is."""

    def __init__(self) -> None:
        super().__init__(self._watch)
        self.shares: list[float] = []

    def busy(self) -> float | None:
        """Return the mean share of the time in which the GPU was busy; None without one."""
        # The driver's figure is that of up to a second before.
        late = self.shares[len(self.shares) // 3 :]
        return statistics.mean(late) if late else None

    def _watch(self) -> None:
        try:
            import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]

            pynvml.nvmlInit()
            gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        # Without the package or a driver there is nothing to see.
        except Exception:
            return
        while not self._done.wait(0.1):
            self.shares.append(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100)


class Pauses(Watch):
    """Counts how long a thread of this process has to wait for others.

    Attributes:
        longest_ms: The longest wait beyond a fifth of a millisecond, in milliseconds.
    """

    def __init__(self) -> None:
        super().__init__(self._watch)
        self.longest_ms = 0.0

    def _watch(self) -> None:
        while not self._done.is_set():
            began = time.perf_counter()
            time.sleep(2e-4)
            late = 1000 * (time.perf_counter() - began) - 0.2
            self.longest_ms = max(self.longest_ms, late)


class Service:
    """A running service.

    Args:
        process: Its process.
        address: Where it listens.
    """

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self._process = process
        self.address = address
        self.channel = grpc.insecure_channel(address, options=OPTIONS)
        self.stub = pb_grpc.GRPCInferenceServiceStub(self.channel)

    def wait(self, models: Sequence[str]) -> None:
        """Return when all models are ready."""
        end = time.monotonic() + START_SECONDS
        for model in models:
            while not self._is_ready(model):
                if time.monotonic() > end or self._process.poll() is not None:
                    raise TimeoutError(f"{model} did not become ready")
                time.sleep(0.1)

    def infer(self, request: bytes) -> None:
        """Send a request that is already bytes, once."""
        self.channel.unary_unary(METHOD)(request, timeout=START_SECONDS)

    def runs(self, model: str) -> tuple[int, int]:
        """Return how many runs of a model there were, and of how many rows."""
        found = self.stub.ModelStatistics(pb.ModelStatisticsRequest(name=model)).model_stats[0]
        return found.execution_count, found.inference_count

    def cpu_seconds(self) -> float:
        """Return the processor time that the service has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _is_ready(self, model: str) -> bool:
        try:
            return self.stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=60).ready
        except grpc.RpcError:
            return False


@contextmanager
def served(folder: Path, settings: Mapping[str, str], log: Path) -> Iterator[Service]:
    """Yield the inference service over the models in `folder`; it ends with the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    environment = {
        **os.environ,
        "PARFOCAL_INFERENCE_PORT": address.rpartition(":")[2],
        "PARFOCAL_INFERENCE_METRICS_PORT": "-1",
        "PARFOCAL_ANONYMOUS_ROLE": "admin",
        "PARFOCAL_STORE_URI": (folder / "store").as_uri(),
        **settings,
    }
    command = [sys.executable, "-m", "parfocal_inference"]
    with (
        log.open("ab") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            yield Service(process, address)
        finally:
            process.terminate()


def answered(address: str, request: bytes) -> None:
    """Return when a server that may be starting has answered a request."""
    end = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        while True:
            try:
                channel.unary_unary(METHOD)(request, timeout=START_SECONDS, wait_for_ready=True)
            except grpc.RpcError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
            else:
                return


class Callers:
    """Processes that call a service, so that their own cost is nobody's."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            CALLING_PROCESSES, mp_context=multiprocessing.get_context("spawn")
        )
        # A process that is still importing does not call.
        list(self._pool.map(time.sleep, [WARM_SECONDS] * CALLING_PROCESSES))

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()

    def load(
        self, service: Service, model: str, request: bytes, *, callers: int, seconds: float
    ) -> Load:
        """Let so many callers call one after the other for some seconds."""
        start = time.time() + WARM_SECONDS
        calls = self._begun(service.address, request, callers, start, seconds)
        time.sleep(max(0.0, start - time.time()))
        before, cpu, began = service.runs(model), service.cpu_seconds(), time.monotonic()
        with GpuWatch() as watch:
            times = [each for call in calls for each in call.result()]
        after, took = service.runs(model), time.monotonic() - began
        runs, rows = (new - old for new, old in zip(after, before, strict=True))
        return Load(
            per_second=len(times) / seconds,
            median_ms=1000 * statistics.median(times) if times else float("nan"),
            batch=rows / runs if runs else float("nan"),
            cores=(service.cpu_seconds() - cpu) / took,
            gpu=watch.busy(),
        )

    def per_second(self, address: str, request: bytes, *, callers: int, seconds: float) -> float:
        """Return how many answers a second so many callers get from any server."""
        calls = self._begun(address, request, callers, time.time() + WARM_SECONDS, seconds)
        return sum(len(call.result()) for call in calls) / seconds

    def _begun(
        self, address: str, request: bytes, callers: int, start: float, seconds: float
    ) -> list[Future[list[float]]]:
        processes = min(callers, CALLING_PROCESSES)
        shares = [callers // processes + (at < callers % processes) for at in range(processes)]
        return [
            self._pool.submit(_call, address, request, share, start, seconds) for share in shares
        ]


def _call(address: str, request: bytes, callers: int, start: float, seconds: float) -> list[float]:
    """Return the time of each call that ended within `seconds` from `start`."""
    return asyncio.run(_calls(address, request, callers, start, seconds))


async def _calls(
    address: str, request: bytes, callers: int, start: float, seconds: float
) -> list[float]:
    times: list[float] = []
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call: Any = channel.unary_unary(METHOD)

        async def call_on() -> None:
            while time.time() < start + seconds:
                began = time.perf_counter()
                await call(request)
                if start <= time.time() < start + seconds:
                    times.append(time.perf_counter() - began)

        await asyncio.gather(*(call_on() for _ in range(callers)))
    return times
