"""Models on a GPU: ONNX Runtime alone, the service through gRPC, fewer bits, and whole images.

    python benchmarks/gpu.py [--part PART ...] [--quick] [--json FILE] [--provider cpu]

Two models of a size as people train them: a residual classifier of images 128 x 128 with 4.9
million parameters, and a 3-D U-Net of 32, 64, 128 and 256 channels for volumes 16 x 128 x 128. Both
take uint8. `fp16` is the variant that `publish_variant` makes. The limit of all ratios is ONNX
Runtime alone at its best batch, with one copy to the device and one back for each run, by one
thread or two. The callers are four processes of their own.

`--provider cpu` runs everything with small models where there is no GPU, to try the program.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from gpu_service import Callers, GpuWatch, Load, Service, served
from onnx import TensorProto
from serving_models import IMAGE, VOLUME, base_unet, classifier
from table import row, show

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.inference.v1 import inference_service_pb2 as service_pb
from parfocal.inference.v1 import inference_service_pb2_grpc as service_grpc
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_runtime.arrays import create_array
from parfocal_runtime.models.config_pbtxt import read_config, write_config
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.providers import CPU, CUDA, HALF
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.sessions import ModelSession, SessionOptions, open_session
from parfocal_runtime.models.variants import converted, publish_variant
from parfocal_runtime.store import open_store

Table = list[dict[str, Any]]

IMAGE_OF_VOLUME = (64, 1024, 1024)
CORNER = (32, 256, 256)
BLOCK = (64, 512, 512)


@dataclass(frozen=True)
class Model:
    """A model that is measured.

    Attributes:
        name: Its name.
        full: Its ONNX file, of 32-bit floats.
        source: Name of its input.
        result: Name of its output.
        shape: Shape of an item, uint8.
        batches: Batches tried.
        most: Its `max_batch_size`.
        instances: Runs of it at once.
    """

    name: str
    full: bytes
    source: str
    result: str
    shape: tuple[int, ...]
    batches: tuple[int, ...]
    most: int
    instances: int

    @cached_property
    def half(self) -> bytes:
        """Its variant of 16-bit floats."""
        return converted(self.full, "fp16")

    def batch(self, rows: int) -> Array:
        """Return a batch of noise."""
        values = np.random.default_rng(rows).integers(0, 256, (rows, *self.shape))
        return values.astype(np.uint8)

    def request(self, name: str, rows: int) -> bytes:
        """Return a request to the model of that name, as bytes."""
        array = self.batch(rows)
        message = pb.ModelInferRequest(model_name=name)
        message.inputs.add(name=self.source, datatype="UINT8", shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
        return message.SerializeToString()


@dataclass
class Bench:
    """What all parts share; the service starts with the first part that calls it.

    Attributes:
        on_gpu: Whether there is a GPU to measure.
        seconds: How long each figure is measured.
        folder: Where files may be written.
        log: Where the service writes.
        search: How cuDNN chooses its algorithms; empty is as the service does.
        stack: What ends with the benchmark.
        limits: Items a second of ONNX Runtime alone, by model and bits.
    """

    on_gpu: bool
    seconds: float
    folder: Path
    log: Path
    search: str
    stack: ExitStack
    limits: dict[tuple[str, str], float] = field(default_factory=dict)

    @cached_property
    def models(self) -> list[Model]:
        """The models, small where there is no GPU."""
        wide, levels = (4, (32, 64, 128, 256)) if self.on_gpu else (1, (4, 8))
        most = 64 if self.on_gpu else 4
        batches = tuple(1 << power for power in range(most.bit_length()))
        net = classifier(element=TensorProto.UINT8, wider=wide)
        return [
            Model("classifier", net, "x", "y", IMAGE, batches, most, 2),
            Model("unet", base_unet(levels), "image", "probability", VOLUME, batches[:4],
                  min(most, 8), 2),
        ]  # fmt: skip

    def options(self, bits: str = "fp32", **settings: str) -> SessionOptions:
        """Return how sessions run here, with more settings of CUDA."""
        if not self.on_gpu:
            return SessionOptions()
        chosen = {"cudnn_conv_algo_search": self.search} if self.search else {}
        chosen |= HALF[CUDA] if bits == "fp16" else {}
        return SessionOptions(providers=(CUDA, CPU), settings={CUDA: {**chosen, **settings}})

    def limit(self, model: Model, bits: str) -> float:
        """Return the items a second of ONNX Runtime alone at its best."""
        key = (model.name, bits)
        if key not in self.limits:
            self.limits[key] = max(rate for _, rate in rates(self, model, bits))
        return self.limits[key]

    @cached_property
    def service(self) -> Service:
        """The service, with all models loaded and run once at each size."""
        return self.stack.enter_context(service_with_models(self))

    @cached_property
    def callers(self) -> Callers:
        """Those who call it."""
        callers = Callers()
        self.stack.callback(callers.close)
        return callers

    def load(self, model: str, request: bytes, *, callers: int) -> Load:
        """Let so many callers send a request again and again."""
        return self.callers.load(
            self.service, model, request, callers=callers, seconds=2 * self.seconds
        )


class Alone:
    """ONNX Runtime alone on one batch: copied in, run, copied out."""

    def __init__(self, session: ModelSession, model: Model, rows: int) -> None:
        self._session = session._session
        self._model = model
        self._batch = model.batch(rows)
        kind = "cuda" if session.on_gpu else "cpu"
        self._value = ort.OrtValue.ortvalue_from_shape_and_type(
            self._batch.shape, np.uint8, kind, 0
        )
        spec = session.outputs[0]
        self._result = np.empty((rows, *spec.shape[1:]), np.float32)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(model.source, self._value)
        self._binding.bind_output(
            model.result, "cpu", 0, np.float32, self._result.shape, self._result.ctypes.data
        )

    def run(self) -> None:
        """Run once."""
        self._value.update_inplace(self._batch)
        self._session.run_with_iobinding(self._binding)


def rates(bench: Bench, model: Model, bits: str) -> Iterator[tuple[str, float]]:
    """Yield items a second of ONNX Runtime alone: for each batch, then the best by two threads."""
    graph = model.half if bits == "fp16" else model.full
    session = open_session(graph, options=bench.options(bits))
    found: dict[int, float] = {}
    for rows in model.batches:
        found[rows] = rows * per_second(Alone(session, model, rows).run, bench.seconds)
        yield f"batch {rows}", found[rows]
    best = max(found, key=lambda rows: found[rows])
    pair = [Alone(session, model, best) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(lambda each: per_second(each.run, bench.seconds), pair)
        yield f"batch {best}, two threads", best * sum(both)


def per_second(run: Callable[[], object], seconds: float) -> float:
    """Return how often `run` runs in a second, after it ran three times."""
    for _ in range(3):
        run()
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        run()
        count += 1
    return count / took


def check(bench: Bench) -> Table:
    """Compare answers with those of the processor."""
    table: Table = []
    for model in bench.models:
        batch = {model.source: model.batch(2)}
        expected = open_session(model.full).run(batch)[model.result]
        scale = max(1.0, float(np.abs(expected).max()))
        for bits, graph, settings, most in (
            ("fp32", model.full, {}, 1e-3),
            ("tf32", model.full, {"use_tf32": "1"}, None),
            ("fp16", model.half, {}, 5e-2),
        ):
            session = open_session(graph, options=bench.options(bits, **settings))
            began = time.perf_counter()
            found = session.run(batch)[model.result]
            first = time.perf_counter() - began
            off = float(np.abs(found - expected).max()) / scale
            table.append(row(f"{model.name} {bits} off the processor", off, "share", most=most))
            table[-1]["value"] = off
            table.append(row(f"{model.name} {bits} first run", first, "s"))
    return table


def alone(bench: Bench) -> Table:
    """Measure ONNX Runtime alone, batch by batch."""
    table: Table = []
    for model in bench.models:
        best = {}
        for bits in ("fp32", "fp16"):
            found = list(rates(bench, model, bits))
            bench.limits[model.name, bits] = best[bits] = max(rate for _, rate in found)
            table += [
                row(f"{model.name} {bits} alone, {what}", rate, "1/s") for what, rate in found
            ]
        table.append(row(f"{model.name} fp16 / fp32, alone", best["fp16"] / best["fp32"], "x"))
    return table


def bindings(bench: Bench) -> Table:
    """Compare ways to bring arrays to the device and back."""
    table: Table = []
    for model in bench.models:
        session = open_session(model.full, options=bench.options())
        feed = {model.source: model.batch(model.most)}

        def copied(session: ModelSession = session, feed: dict[str, Array] = feed) -> object:
            return session._session.run(None, feed)

        def bound(session: ModelSession = session, feed: dict[str, Array] = feed) -> object:
            return session.run(feed)

        least = per_second(Alone(session, model, model.most).run, bench.seconds)
        for what, run in (("run()", copied), ("as the service does", bound)):
            rate = per_second(run, bench.seconds) / least
            table.append(row(f"{model.name} batch {model.most}, {what} / bound", rate, "x"))
        table += switching(bench, session, model)
    return table


def switching(bench: Bench, session: ModelSession, model: Model) -> Table:
    """Measure runs of two sizes in turn, in one session and as the service does."""
    sizes = (model.most, model.most // 2)
    feeds = [{model.source: model.batch(rows)} for rows in sizes]

    def in_one_session() -> None:
        for feed in feeds:
            session._session.run(None, feed)

    def as_the_service_does() -> None:
        for feed in feeds:
            session.run(feed)

    name = f"{model.name} batches {sizes[0]} and {sizes[1]} in turn"
    return [
        row(f"{name}, {what}", sum(sizes) * per_second(run, bench.seconds), "1/s")
        for what, run in (
            ("one session", in_one_session),
            ("as the service does", as_the_service_does),
        )
    ]


def search(bench: Bench) -> Table:
    """Measure how cuDNN's choice of algorithms and other settings change the rate."""
    table: Table = []
    for model in bench.models:
        for bits, graph in (("fp32", model.full), ("fp16", model.half)):
            for what, settings in (
                ("exhaustive", {"cudnn_conv_algo_search": "EXHAUSTIVE"}),
                ("heuristic", {"cudnn_conv_algo_search": "HEURISTIC"}),
                ("default", {"cudnn_conv_algo_search": "DEFAULT"}),
                ("without tf32", {"use_tf32": "0"}),
                ("tf32", {"use_tf32": "1", "prefer_nhwc": "0"}),
                ("tf32, channels last", {"use_tf32": "1", "prefer_nhwc": "1"}),
                ("small workspace", {"cudnn_conv_use_max_workspace": "0"}),
            ):
                name = f"{model.name} {bits} batch {model.most}, {what}"
                try:
                    session = open_session(graph, options=bench.options(bits, **settings))
                    run = Alone(session, model, model.most).run
                    began = time.perf_counter()
                    run()
                    table.append(row(f"{name}, first run", time.perf_counter() - began, "s"))
                    rate = model.most * per_second(run, bench.seconds)
                    table.append(row(name, rate, "1/s"))
                # One setting that does not go with a graph must not hide the others.
                except Exception as error:
                    print(f"{name}: {str(error).splitlines()[0][:200]}", file=sys.stderr)
    return table


@contextmanager
def service_with_models(bench: Bench) -> Iterator[Service]:
    """Yield the service with every model, its variant and two copies of other settings.

    One copy shares no runs, the other has one instance.
    """
    store = open_store((bench.folder / "store").as_uri())
    names = []
    for model in bench.models:
        file = bench.folder / "model.onnx"
        file.write_bytes(model.full)
        own = [model.name, f"{model.name}-alone", f"{model.name}-one", f"{model.name}-fp16"]
        for name in own:
            if name.endswith("-fp16"):
                publish_variant(store, model.name, "fp16", limit=math.inf)
            else:
                publish_file(store, name, file)
            instances = 1 if name.endswith("-one") else model.instances
            configure(
                store, bench, name, model, shares=not name.endswith("-alone"), instances=instances
            )
        names += own
    settings = {
        "PARFOCAL_INFERENCE_PROVIDERS": f"{CUDA},{CPU}" if bench.on_gpu else CPU,
        "PARFOCAL_INFERENCE_WINDOWS_PER_RUN": str(bench.models[-1].most),
        "PARFOCAL_INFERENCE_PARALLEL_BLOCKS": "4",
    }
    with served(bench.folder, settings, bench.log) as service:
        service.wait(names)
        for model in bench.models:
            for name in (each for each in names if each.startswith(model.name)):
                for rows in model.batches:
                    service.infer(model.request(name, rows))
        yield service


def configure(
    store: Any, bench: Bench, name: str, model: Model, *, shares: bool, instances: int
) -> None:
    """Write how a model is served."""
    place = f"models/{name}/config.pbtxt"
    config = read_config(store.read(place))
    config.max_batch_size = model.most
    if not shares:
        config.ClearField("dynamic_batching")
    group = config.instance_group.add(count=instances)
    group.kind = group.KIND_GPU if bench.on_gpu else group.KIND_CPU
    if bench.on_gpu and bench.search:
        accelerators = config.optimization.execution_accelerators
        accelerator = accelerators.gpu_execution_accelerator.add(name="cuda")
        accelerator.parameters["cudnn_conv_algo_search"] = bench.search
    store.write(place, write_config(config))


def serving(bench: Bench) -> Table:
    """Measure the service through gRPC, over ONNX Runtime alone."""
    table: Table = []
    for model, bits in product(bench.models, ("fp32", "fp16")):
        name = model.name if bits == "fp32" else f"{model.name}-fp16"
        limit = bench.limit(model, bits)
        table.append(row(f"{model.name} {bits} alone at its best", limit, "1/s"))
        for count, rows in cases(model):
            load = bench.load(name, model.request(name, rows), callers=count)
            what = f"{model.name} {bits}, {rows} a call, {count} callers"
            rate = rows * load.per_second
            table += [
                row(what, rate, "1/s"),
                row(f"{what} / alone", rate / limit, "x"),
                row(f"{what}, median call", load.median_ms, "ms"),
                row(f"{what}, rows a run", load.batch, "rows"),
                row(f"{what}, service", load.cores, "cores"),
            ]
            if load.gpu is not None:
                is_goal = (model.name, bits, count) == ("unet", "fp32", 32)
                least = 0.9 if is_goal else None
                table.append(row(f"{what}, GPU busy", load.gpu, "share", least=least))
    return table


def cases(model: Model) -> list[tuple[int, int]]:
    """Return callers and items of a call."""
    alone = [(1, 1), (8, 1), (32, 1)]
    return [*alone, (8, model.most)] if model.name == "classifier" else [*alone, (8, 4)]


def batching(bench: Bench) -> Table:
    """Measure what sharing runs and a second instance gain where each call brings one item."""
    table: Table = []
    for model in bench.models:
        rates = {
            (name, callers): bench.load(
                f"{model.name}{name}", model.request(f"{model.name}{name}", 1), callers=callers
            ).per_second
            for name, callers in product(("", "-alone", "-one"), (8, 32))
        }
        for callers in (8, 32):
            for what, other in (
                ("shared runs / single ones", "-alone"),
                ("two instances / one", "-one"),
            ):
                if rates[other, callers]:
                    gain = rates["", callers] / rates[other, callers]
                    table.append(row(f"{model.name}, {callers} callers, {what}", gain, "x"))
    return table


def volume(bench: Bench) -> Table:
    """Measure SegmentBlock over a whole image, and how busy it keeps the GPU."""
    table: Table = []
    model = next(each for each in bench.models if each.name == "unet")
    shape, block = (IMAGE_OF_VOLUME, BLOCK) if bench.on_gpu else (CORNER, CORNER)
    path = "projects/p/images/volume.ome.zarr/0"
    store = open_store((bench.folder / "store").as_uri())
    array = create_array(store, path, shape=shape, dtype=np.uint8, chunks=(16, 128, 128))
    array[...] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stub = service_grpc.InferenceServiceStub(bench.service.channel)
    for name, bits in (("unet", "fp32"), ("unet-fp16", "fp16")):
        requests = [request(path, name, box) for box in boxes(shape, block)]
        began, cpu = time.perf_counter(), bench.service.cpu_seconds()
        with GpuWatch() as watch, ThreadPoolExecutor(4) as pool:
            done = list(pool.map(stub.SegmentBlock, requests))
        took = time.perf_counter() - began
        windows = sum(each.windows for each in done) / took
        cores = (bench.service.cpu_seconds() - cpu) / took
        table += [
            row(f"{name} over an image", math.prod(shape) / took / 1e6, "Mvoxel/s"),
            row(f"{name} over an image, windows", windows, "1/s"),
            row(f"{name} over an image, windows / alone", windows / bench.limit(model, bits), "x"),
            row(f"{name} over an image, service", cores, "cores"),
        ]
        busy = watch.busy()
        if busy is not None:
            table.append(row(f"{name} over an image, GPU busy", busy, "share"))
    return table


def boxes(shape: Sequence[int], block: Sequence[int]) -> Iterator[geometry_pb2.Box]:
    """Yield the boxes that cut an image into blocks."""
    starts = [range(0, side, step) for side, step in zip(shape, block, strict=True)]
    for corner in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3).tolist():
        stop = [min(a + b, c) for a, b, c in zip(corner, block, shape, strict=True)]
        yield geometry_pb2.Box(
            start=geometry_pb2.Index3(z=corner[0], y=corner[1], x=corner[2]),
            stop=geometry_pb2.Index3(z=stop[0], y=stop[1], x=stop[2]),
        )


def request(image: str, model: str, box: geometry_pb2.Box) -> service_pb.SegmentBlockRequest:
    """Return the request for one block."""
    return service_pb.SegmentBlockRequest(
        image=image,
        prediction=f"projects/p/predictions/volume/{model}-1.ome.zarr/0",
        box=box,
        model=artifact_pb2.ModelVersion(name=model, version=1),
    )


PARTS: Mapping[str, Callable[[Bench], Table]] = {
    part.__name__: part for part in (check, alone, serving, batching, bindings, volume, search)
}


def main() -> int:
    """Run what the command line asks for; return 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=list(PARTS), action="append", help="all by default")
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--search", default="", help="how cuDNN chooses: EXHAUSTIVE, HEURISTIC")
    parser.add_argument("--quick", action="store_true", help="half a second for each figure")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--log", type=Path, default=Path("/dev/null"), help="of the service")
    options = parser.parse_args()
    table: Table = []
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="parfocal-benchmark-") as name,
        ExitStack() as stack,
    ):
        bench = Bench(
            on_gpu=options.provider == "cuda",
            seconds=0.5 if options.quick else 2.0,
            folder=Path(name),
            log=options.log,
            search=options.search,
            stack=stack,
        )
        for part in options.part or PARTS:
            began = time.perf_counter()
            # What is left is worth having where one part fails.
            try:
                table += PARTS[part](bench)
            except Exception:
                traceback.print_exc()
                failed = 1
            print(f"{part}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(table, indent=1) + "\n")
    if table:
        show(table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
