"""Running models over gRPC: what the service adds to bare ONNX Runtime.

    python benchmarks/serving.py [--quick] [--json FILE] [--mlserver-python PYTHON] [--openvino]
                                 [--cores 1]

Two models: a classifier of images 128 x 128 with 310,000 parameters, and a small U-Net of volumes
16 x 128 x 128, with one thread a run. `cpu/bare` is the CPU time of an item in bare ONNX Runtime,
at the batch where it is least, over that of the service's process, as the kernel counts it: 1 is a
service that costs nothing. The clients are not in it. Bare runs and the service take turns; the
figures are the median of several rounds. `unet` runs one volume at a time, `unet-shared` as many as
wait; `at a time` is what cutting a run into pieces that the cache holds is worth.

`gRPC alone` is a server of grpc.aio that answers each request of the same size with ten numbers and
does nothing; `if gRPC were all` is what `cpu/bare` would be with that cost and no other. `around a
call` is what the service does for a call besides: interceptors, metrics, unpacking, validation and
packing, without gRPC, batcher and model. `no batcher` is the same service with each request in a
thread of its own. The accelerator is simulated: an engine that takes 5 ms for a run of any size.

With `--mlserver-python`, an interpreter with mlserver 1.7.1, onnxruntime and uvloop < 0.22,
MLServer serves the same models too, without its workers: with and without its batching, whichever
is better. MLServer has ONNX Runtime in all rows.

With `--openvino` (`pip install parfocal[openvino]`) the service also runs the models on OpenVINO,
against bare runs of OpenVINO.

With `--cores 1` clients, services and bare runs share a core. What a call costs is steadier there:
waking a core that has gone to sleep is charged to whoever wakes it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
from bare import runner
from onnx import TensorProto
from serving_around import around_a_call
from serving_models import IMAGE, VOLUME, classifier, small, unet
from table import row, show

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_runtime.auth import Role, write_token
from parfocal_runtime.models.config_pbtxt import read_config, write_config
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.providers import CPU, OPENVINO, SessionOptions
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.row_runs import run_rows
from parfocal_runtime.store import open_store

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests/support"))
from mlserver_process import mlserver  # noqa: E402  # the tests need it as well

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TICKS = os.sysconf("SC_CLK_TCK")
BATCHES = (1, 4, 8, 16, 32)
# Of each model (items per call, callers, goal), and beside MLServer (callers, goal).
OVERHEAD: dict[str, list[tuple[int, int, float | None]]] = {
    "classifier": [(1, 1, 0.70), (1, 8, 0.80), (1, 32, 0.80)],
    "classifier-uint8": [(8, 8, 0.93), (32, 2, 0.96)],
    "unet": [(1, 1, 0.95), (1, 8, 0.95), (1, 32, 0.95)],
    "unet-shared": [(1, 8, None)],
}
PEERS: dict[str, list[tuple[int, float | None]]] = {
    "classifier": [(1, None), (8, 2.0), (32, 2.0)],
    "unet": [(1, 1.15), (8, 1.15)],
}


@dataclass(frozen=True)
class Model:
    """A model that is measured.

    Attributes:
        name: Its name.
        graph: Its ONNX file.
        shape: Shape of an item.
        dtype: Element type of its input.
        batches: Batches tried with bare ONNX Runtime.
        items: Items of a round.
        max_batch_size: What its configuration says; None is what it gets by default.
    """

    name: str
    graph: bytes
    shape: tuple[int, ...]
    dtype: str
    batches: tuple[int, ...]
    items: int
    max_batch_size: int | None = None

    def batch(self, rows: int) -> Any:
        """Return a batch of noise."""
        values = np.random.default_rng(rows).integers(0, 256, (rows, *self.shape))
        return values.astype(self.dtype)

    def request(self, rows: int) -> bytes:
        """Return a request with that many items, as bytes."""
        array = self.batch(rows)
        datatype = {"f4": "FP32", "u1": "UINT8"}[self.dtype]
        message = pb.ModelInferRequest(model_name=self.name)
        message.inputs.add(name="x", datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
        return message.SerializeToString()


class Bare:
    """A model in this process, run by ONNX Runtime or OpenVINO alone."""

    def __init__(self, model: Model, provider: str = CPU) -> None:
        self._model = model
        self._run = runner(model.graph, "y", threads=1, provider=provider)
        times = {rows: self._seconds(rows, model.items) for rows in model.batches}
        self.batch = min(times, key=lambda rows: times[rows])

    def seconds(self) -> float:
        """Return the CPU seconds of an item at the best batch."""
        return self._seconds(self.batch, self._model.items)

    def _seconds(self, rows: int, items: int) -> float:
        feed = {"x": self._model.batch(rows)}
        self._run(feed)
        count = max(1, items // rows)
        before = time.process_time()
        for _ in range(count):
            self._run(feed)
        return (time.process_time() - before) / (count * rows)


@dataclass(frozen=True)
class Round:
    """What one round of calls took, for each item."""

    cpu_seconds: float
    wall_seconds: float


class Service:
    """The service as a process of its own."""

    def __init__(self, pid: int, port: int, token: str = "") -> None:
        self._pid = pid
        self._metadata = (("authorization", f"Bearer {token}"),)
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._call: Any = self._channel.unary_unary(METHOD)

    async def ready(self, request: bytes) -> None:
        """Return when a request is answered."""
        end = time.monotonic() + 120
        while True:
            try:
                await self._call(request, metadata=self._metadata, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                # MLServer answers before it has its models.
                starting = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
                if error.code() not in starting or time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def round(self, request: bytes, *, callers: int, calls: int, rows: int) -> Round:
        """Let every caller call that often, one call after the other."""

        async def call_on(count: int) -> None:
            for _ in range(count):
                await self._call(request, metadata=self._metadata)

        await call_on(1)
        cpu, start = self._cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(call_on(calls) for _ in range(callers)))
        items = callers * calls * rows
        wall = (time.perf_counter() - start) / items
        return Round((self._cpu_seconds() - cpu) / items, wall)

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def rows_at_a_time(folder: Path, model: Model, *, rows: int, rounds: int) -> dict[str, Any]:
    """Return CPU time of all rows in one run over that of a few at a time, as the service does."""
    store = open_store((folder / "store").as_uri())
    models = LoadedModels(ModelRepository(store), options=SessionOptions(threads=1))
    session, feed = models.get(model.name).session, {"x": model.batch(rows)}
    ratios = []
    for _ in range(rounds):
        spent = []
        for run in (session.run, partial(run_rows, session)):
            run(feed)
            before = time.process_time()
            for _ in range(max(1, model.items // rows)):
                run(feed)
            spent.append(time.process_time() - before)
        ratios.append(spent[0] / spent[1])
    name = f"{model.name} {rows} rows at once / {session.rows_at_once} at a time, CPU"
    return row(name, statistics.median(ratios), "x")


@contextmanager
def served(folder: Path, executor: str, provider: str = CPU) -> Iterator[Service]:
    """Yield the service with an executor; it ends with the block."""
    tokens = folder / "tokens"
    token = write_token(tokens, name=f"{executor}-{provider}", role=Role.VIEWER)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        "PARFOCAL_INFERENCE_PORT": str(port),
        "PARFOCAL_INFERENCE_METRICS_PORT": "0",
        "PARFOCAL_INFERENCE_PROVIDERS": provider,
        "PARFOCAL_INFERENCE_SESSION_THREADS": "1",
        "PARFOCAL_STORE_URI": (folder / "store").as_uri(),
        "PARFOCAL_TOKENS_FILE": str(tokens),
    }
    command = [sys.executable, str(HERE / "serving_service.py"), executor]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield Service(process.pid, port, token)
        finally:
            process.terminate()


async def overhead(
    service: Service,
    model: Model,
    *,
    cases: Sequence[tuple[int, int, float | None]],
    rounds: int,
    provider: str = CPU,
) -> list[dict[str, Any]]:
    """Return CPU time over that of bare runs for each case of (items per call, callers, goal)."""
    bare = Bare(model, provider)
    await service.ready(model.request(1))
    ours: dict[tuple[int, int], list[float]] = {}
    alone: list[float] = []
    for _ in range(rounds):
        for rows, callers, _ in cases:
            # Right before and after, so that what slows this machine for a while slows both.
            before = bare.seconds()
            calls = max(1, round(model.items / rows / callers))
            found = await service.round(
                model.request(rows), callers=callers, calls=calls, rows=rows
            )
            mean = (before + bare.seconds()) / 2
            alone.append(mean)
            ours.setdefault((rows, callers), []).append(mean / found.cpu_seconds)
    table = [
        row(f"{model.name} bare, batch {bare.batch}", 1000 * statistics.median(alone), "ms/item")
    ]
    for rows, callers, goal in cases:
        name = f"{model.name} {rows} per call, {callers} callers cpu/bare"
        table.append(row(name, statistics.median(ours[rows, callers]), "x", least=goal))
    return table


async def grpc_alone(
    echo: Service, model: Model, *, callers: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Return what gRPC takes for a call that does nothing, and what that leaves of bare speed."""
    bare, request = Bare(model), model.request(1)
    await echo.ready(request)
    table = []
    for count in callers:
        spent, ratios = [], []
        for _ in range(rounds):
            alone = bare.seconds()
            found = await echo.round(request, callers=count, calls=model.items // count, rows=1)
            spent.append(1e6 * found.cpu_seconds)
            ratios.append(alone / (alone + found.cpu_seconds))
        table.append(row(f"gRPC alone, {count} callers", statistics.median(spent), "us"))
        name = f"{model.name} 1 per call, {count} callers cpu/bare if gRPC were all"
        table.append(row(name, statistics.median(ratios), "x"))
    return table


async def beside_mlserver(
    ours: Service,
    theirs: Sequence[Service],
    model: Model,
    *,
    cases: Sequence[tuple[int, float | None]],
    rounds: int,
) -> list[dict[str, Any]]:
    """Return the CPU time of MLServer at its best over ours for each case of (callers, goal)."""
    request = model.request(1)
    for each in (ours, *theirs):
        await each.ready(request)
    ratios: dict[int, list[float]] = {}
    for _ in range(rounds):
        for callers, _ in cases:
            calls = max(1, model.items // callers)
            spent = [
                (await each.round(request, callers=callers, calls=calls, rows=1)).cpu_seconds
                for each in (ours, *theirs)
            ]
            ratios.setdefault(callers, []).append(min(spent[1:]) / spent[0])
    return [
        row(
            f"{model.name} 1 per call, {callers} callers MLServer cpu / ours",
            statistics.median(ratios[callers]),
            "x",
            least=goal,
        )
        for callers, goal in cases
    ]


async def lone_caller(
    ours: Service, threads: Service, model: Model, *, rounds: int
) -> list[dict[str, Any]]:
    """Return how fast one caller is, over the same without a batcher."""
    request = model.request(1)
    await ours.ready(request)
    await threads.ready(request)
    ratios = []
    for _ in range(2 * rounds):
        a = await ours.round(request, callers=1, calls=model.items, rows=1)
        b = await threads.round(request, callers=1, calls=model.items, rows=1)
        ratios.append(b.wall_seconds / a.wall_seconds)
    name = f"{model.name} 1 per call, 1 caller speed / no batcher"
    return [row(name, statistics.median(ratios), "x", least=0.97)]


async def accelerator(service: Service, model: Model, *, rounds: int) -> list[dict[str, Any]]:
    """Return how much faster many callers are than one where a run of any size takes 5 ms."""
    request = model.request(1)
    await service.ready(request)
    rates: dict[int, list[float]] = {}
    for _ in range(rounds):
        for callers in (1, 8, 32):
            found = await service.round(request, callers=callers, calls=model.items, rows=1)
            rates.setdefault(callers, []).append(1 / found.wall_seconds)
    medians = {callers: statistics.median(each) for callers, each in rates.items()}
    return [
        row("simulated accelerator, 1 caller", medians[1], "1/s"),
        row("simulated accelerator, 8 callers / 1", medians[8] / medians[1], "x", least=3.5),
        row("simulated accelerator, 32 callers / 1", medians[32] / medians[1], "x"),
    ]


async def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, about three minutes")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--openvino", action="store_true", help="run models on OpenVINO, too")
    parser.add_argument("--cores", type=int, default=0, help="as many for all together; 0 for all")
    parser.add_argument("--mlserver-python", type=Path, help="measure MLServer of this interpreter")
    options = parser.parse_args()
    if options.cores:
        # Servers that are started from here inherit it.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    rounds, more = (3, 1) if options.quick else (7, 3)
    images = classifier(element=TensorProto.UINT8)
    models = {
        "classifier": Model("classifier", classifier(), IMAGE, "f4", BATCHES, 640 * more),
        "classifier-uint8": Model("classifier-uint8", images, IMAGE, "u1", BATCHES, 640 * more),
        # Volumes are faster alone on a processor; how much is the row of those that share runs.
        "unet": Model("unet", unet(), VOLUME, "f4", (1, 4), 8 * more, max_batch_size=1),
        "unet-shared": Model("unet-shared", unet(), VOLUME, "f4", (1,), 8 * more),
        "small": Model("small", small(), (4,), "f4", (1,), 60 * more),
    }
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="parfocal-benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        publish(folder, list(models.values()))
        ours = stack.enter_context(served(folder, "batching"))
        threads = stack.enter_context(served(folder, "threads"))
        device = stack.enter_context(served(folder, "accelerator"))
        echo = stack.enter_context(served(folder, "echo"))
        peers = mlservers(stack, folder, options.mlserver_python, models)
        for which, cases in OVERHEAD.items():
            table += await overhead(ours, models[which], cases=cases, rounds=rounds)
        table += [
            rows_at_a_time(folder, models["classifier"], rows=32, rounds=rounds),
            rows_at_a_time(folder, models["unet-shared"], rows=4, rounds=rounds),
        ]
        table += await grpc_alone(echo, models["classifier"], callers=(1, 8, 32), rounds=rounds)
        table.append(
            row("around a call", await around_a_call(models["classifier"]), "us", most=100)
        )
        table += await lone_caller(ours, threads, models["classifier"], rounds=rounds)
        table += await accelerator(device, models["small"], rounds=rounds)
        if peers:
            for which, callers in PEERS.items():
                table += await beside_mlserver(
                    ours, peers, models[which], cases=callers, rounds=rounds
                )
        if options.openvino:
            faster = stack.enter_context(served(folder, "batching", OPENVINO))
            table += await on_openvino(faster, peers, models, rounds=rounds)
            await faster.close()
        for service in (ours, threads, device, echo, *peers):
            await service.close()
    show(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


async def on_openvino(
    service: Service, peers: Sequence[Service], models: Mapping[str, Model], *, rounds: int
) -> list[dict[str, Any]]:
    """Return the rows of a service that runs models on OpenVINO."""
    table: list[dict[str, Any]] = []
    for which, cases in OVERHEAD.items():
        table += await overhead(
            service, models[which], cases=cases, rounds=rounds, provider=OPENVINO
        )
    if peers:
        for which, callers in PEERS.items():
            table += await beside_mlserver(
                service, peers, models[which], cases=callers, rounds=rounds
            )
    return [{**each, "name": f"OpenVINO: {each['name']}"} for each in table]


def mlservers(
    stack: ExitStack, folder: Path, python: Path | None, models: Mapping[str, Model]
) -> list[Service]:
    """Start MLServer without and with its batching; nothing where there is no interpreter."""
    if python is None:
        return []
    graphs = {name: models[name].graph for name in ("classifier", "unet")}
    places = (folder / "mlserver", folder / "mlserver-batching")
    started = (
        stack.enter_context(mlserver(python, places[0], graphs)),
        stack.enter_context(
            mlserver(python, places[1], graphs, max_batch_size=32, max_batch_seconds=0.002)
        ),
    )
    return [Service(each.pid, each.port) for each in started]


def publish(folder: Path, models: Sequence[Model]) -> None:
    """Put the models into the repository of the service."""
    store = open_store((folder / "store").as_uri())
    for model in models:
        file = folder / "model.onnx"
        file.write_bytes(model.graph)
        publish_file(store, model.name, file)
        if model.max_batch_size is not None:
            place = f"models/{model.name}/config.pbtxt"
            config = read_config(store.read(place))
            config.max_batch_size = model.max_batch_size
            store.write(place, write_config(config))


if __name__ == "__main__":
    asyncio.run(main())
