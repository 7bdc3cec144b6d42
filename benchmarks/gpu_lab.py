"""What the parts of `gpu.py` share: models, ONNX Runtime alone, and the service with the models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from gpu_service import Callers, Load, Service, served
from onnx import TensorProto
from serving_models import IMAGE, VOLUME, base_unet, classifier

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_runtime.models.config_pbtxt import read_config, write_config
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.providers import CPU, CUDA, HALF
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.sessions import ModelSession, SessionOptions, open_session
from parfocal_runtime.models.variants import converted, publish_variant
from parfocal_runtime.store import open_store


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
        monai_python: Python of an environment with MONAI; empty without one.
        mlserver_python: Python of an environment with MLServer; empty without one.
        stack: What ends with the benchmark.
        limits: Items a second of ONNX Runtime alone, by model and bits.
    """

    on_gpu: bool
    seconds: float
    folder: Path
    log: Path
    search: str
    monai_python: str
    mlserver_python: str
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
        self._result = [model.result]
        self._feed = {model.source: model.batch(rows)}

    def run(self) -> None:
        """Run once."""
        self._session.run(self._result, self._feed)


class AloneBound:
    """The same with the input bound to memory of the device and the output to an array."""

    def __init__(self, session: ModelSession, model: Model, rows: int) -> None:
        self._session = session._session
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
    pair = [Alone(session, model, best).run for _ in range(2)]
    yield f"batch {best}, two threads", best * together(pair, bench.seconds)


def per_second(run: Callable[[], object], seconds: float) -> float:
    """Return how often `run` runs in a second, after it ran three times."""
    return together([run], seconds)


def together(runs: Sequence[Callable[[], object]], seconds: float) -> float:
    """Return how often all `runs` run in a second, each by a thread, after three runs of each."""
    for run in runs:
        for _ in range(3):
            run()
    stop = time.perf_counter() + seconds

    def count(run: Callable[[], object]) -> float:
        found, began = 0, time.perf_counter()
        while time.perf_counter() < stop:
            run()
            found += 1
        return found / (time.perf_counter() - began)

    with ThreadPoolExecutor(len(runs)) as pool:
        return sum(pool.map(count, runs))


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
