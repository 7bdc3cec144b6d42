"""Predicting volumes block by block: what the service adds to bare ONNX Runtime, and against MONAI.

    python benchmarks/volume.py [--quick] [--shape Z Y X] [--monai-python FILE] [--s3] [--openvino]
                                [--json FILE]

The network is a small U-Net, 16 x 128 x 128, with random weights and an overlap of a quarter. An
image of 64 x 1024 x 1024 is 605 windows, minutes on one core; `--shape` and `--quick` take less.
Without a GPU everything has one thread, and costs are processor time, as other work on the machine
does not change that; `--clock wall` compares seconds instead.

* `bare` runs ONNX Runtime in this process on as many windows as the service does.
* MONAI's `sliding_window_inference` runs on torch with the same weights in an environment of its
  own, which `--monai-python` names (`pip install monai==1.6.1 torch==2.13.0`), at the
  `sw_batch_size` that is fastest. It finds the image in memory and leaves the map there; the
  service reads and writes an object store, and its gRPC call is counted too.
* `--s3` starts a Ceph object gateway on this machine and predicts from and into it.
* `--openvino` predicts with a service on OpenVINO too (`pip install parfocal[openvino]`), against
  bare runs of OpenVINO and against MONAI.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from bare import runner
from table import row, show
from volume_lab import (
    CHUNKS,
    HERE,
    VOLUME,
    WINDOW,
    Cost,
    Monai,
    Replica,
    base_unet,
    picture,
    publish,
    replica,
    request,
    smoothing,
    write_image,
)
from volume_replicas import sameness

from parfocal_inference.base_model import BaseModel
from parfocal_inference.segment import segment_block
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.arrays import create_array, open_array, read_box
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.providers import CPU, OPENVINO
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import ModelSession, SessionOptions
from parfocal_runtime.store import ObjectStore, S3Settings, open_store

FULL: Triple = (64, 1024, 1024)
QUICK: Triple = (40, 320, 320)
IMAGE = "projects/b/images/i.ome.zarr/0"
BATCHES = (1, 2, 4, 8)
OVERLAP = 0.25


class Bare:
    """The network in this process, run by ONNX Runtime or OpenVINO alone."""

    def __init__(self, *, threads: int, provider: str = CPU) -> None:
        self._window = np.random.default_rng(0).integers(0, 256, (1, *VOLUME), np.uint8)
        self._run = runner(base_unet(), "probability", threads=threads, provider=provider)
        self._run({"image": self._window})

    def run(self, windows: int) -> Cost:
        """Run that many windows."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(windows):
            self._run({"image": self._window})
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)


class FixedAnswer(ModelSession):
    """A session that has its answer ready, so that only what is around it takes time."""

    def __init__(self, session: ModelSession) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self._answer = np.full((1, *VOLUME), 0.5, np.float32)

    def run(self, inputs: Any, outputs: Any = None) -> dict[str, Array]:
        return {"probability": self._answer}


def speed(
    service: Replica,
    store: ObjectStore,
    shape: Triple,
    *,
    monai: Monai | None,
    options: argparse.Namespace,
    provider: str = CPU,
) -> list[dict[str, Any]]:
    """Return how fast an image is predicted, against bare runs and MONAI."""
    bare, box = Bare(threads=options.threads, provider=provider), Box.whole(shape)
    best = 0
    if monai is not None:
        crop = (min(shape[0], 28), min(shape[1], 320), min(shape[2], 320))
        times = {batch: monai.run(batch, crop) for batch in BATCHES for _ in range(2)}
        best = min(times, key=lambda batch: _of(times[batch], options.clock))
    rows: dict[str, list[float]] = {"ours": [], "bare": [], "monai": [], "store": [], "wall": []}
    for number in range(options.rounds):
        prediction = f"projects/b/predictions/speed-{provider.lower()}-{number}"
        ask = request(IMAGE, prediction, box, model="unet")
        before, begin = service.cpu_seconds(), time.perf_counter()
        done = service.stub.SegmentBlock(ask)
        wall = time.perf_counter() - begin
        ours = _of(Cost(wall, service.cpu_seconds() - before), options.clock)
        alone = _of(bare.run(done.windows), options.clock)
        rows["wall"].append(box.voxels / wall)
        rows["bare"].append(alone / ours)
        rows["store"].append(100 * done.store_seconds / wall)
        if monai is not None:
            rows["monai"].append(_of(monai.run(best, shape), options.clock) / ours)
    name = "x".join(map(str, shape))
    needed = math.prod(map(len, WindowGrid.overlapping(shape, WINDOW, overlap=OVERLAP).starts))
    table = [
        row(f"{name}, windows run / windows of the image", done.windows / needed, "x", most=1.0),
        row(f"{name}, service", statistics.median(rows["wall"]), "vox/s"),
        row(f"{name}, service / bare", statistics.median(rows["bare"]), "x", least=0.95),
        row(f"{name}, waiting for the store", statistics.median(rows["store"]), "%", most=3.0),
    ]
    if monai is not None:
        ratio = statistics.median(rows["monai"])
        table.append(row(f"{name}, service / MONAI, sw_batch {best}", ratio, "x", least=1.4))
        map_ = np.asarray(open_array(store, ask.prediction).read().result(), np.int16)
        apart = np.abs(map_ - monai.map()).mean()
        table.append(row(f"{name}, mean difference from MONAI's map", float(apart), "/255", most=2))
    return table


def around_the_model(store: ObjectStore, shape: Triple, *, rounds: int) -> list[dict[str, Any]]:
    """Return the share of processor time that is not the model's: cutting, casting, blending."""
    loaded = LoadedModels(ModelRepository(store), options=SessionOptions(threads=1)).get("unet")
    model = BaseModel(replace(loaded, session=FixedAnswer(loaded.session)))
    grid = WindowGrid.overlapping(shape, WINDOW, overlap=OVERLAP)
    windows = math.prod(map(len, grid.starts))
    image, bare, shares = picture(shape), Bare(threads=1), []
    for _ in range(rounds):
        before = time.process_time()
        segment_block(
            lambda box: image[box.slices], model, grid=grid, box=Box.whole(shape), chunk=16
        )
        ours = (time.process_time() - before) / windows
        shares.append(100 * ours / (ours + bare.run(3).cpu / 3))
    return [row("cutting, casting, blending", statistics.median(shares), "% CPU", most=2.0)]


def memory(store: ObjectStore, folder: Path) -> list[dict[str, Any]]:
    """Return what blocks took in memory, over what was stated before, for images of two sizes.

    Each has a service of its own: one that has worked before holds memory that it can use again.
    """
    rows = []
    for name, shape in (("small", (32, 384, 384)), ("large", (128, 1024, 1024))):
        image = f"projects/b/images/{name}"
        write_image(store, image, picture(shape))
        # In the corner of each, as wide in both.
        box = Box((0, 0, 0), (shape[0], 256, 256))
        ask = request(image, f"projects/b/predictions/{name}", box, model="unet")
        with replica(store, folder) as service:
            warm_up(service, f"warm-{name}")
            service.forget_peak()
            before = service.resident_bytes("VmRSS")
            done = service.stub.SegmentBlock(ask)
            held = service.resident_bytes("VmHWM") - before
        label = f"memory, {name} image: taken / stated"
        rows.append(row(label, held / done.memory_bytes, "x", most=1.0))
        rows.append(row(f"memory, {name} image: stated", done.memory_bytes / 2**20, "MiB"))
    return rows


def chunks_decoded(store: ObjectStore, block: Triple) -> float:
    """Return the chunks that are read for a block amid others, over those that it has itself."""
    import tensorstore as ts

    def counted() -> int:
        name = "/tensorstore/kvstore/file/read"
        metrics: Any = ts.experimental_collect_matching_metrics(name)
        return next(each["values"][0]["value"] for each in metrics if each["name"] == name)

    z, y, x = block
    shape = (3 * z, 3 * y, 3 * x)
    path = f"projects/b/images/empty-{y}"
    # A chunk that was never written is asked for all the same.
    create_array(store, path, shape=shape, dtype=np.uint8, chunks=CHUNKS)
    array = open_array(store, path)
    box = Box(block, (2 * z, 2 * y, 2 * x))
    before = counted()
    segment_block(
        lambda inside: read_box(array, inside),
        lambda windows: np.zeros(windows.shape, np.float32),
        grid=WindowGrid.overlapping(shape, WINDOW, overlap=OVERLAP),
        box=box,
        chunk=CHUNKS[0],
    )
    chunks = math.prod(side // chunk for side, chunk in zip(block, CHUNKS, strict=True))
    return (counted() - before) / chunks


def _of(cost: Cost, clock: str) -> float:
    return cost.cpu if clock == "cpu" else cost.wall


@contextmanager
def ceph() -> Iterator[S3Settings]:
    """A Ceph object gateway with an empty bucket, until the block ends."""
    sys.path.append(str(HERE.parent / "tests/components"))
    from minio import Minio

    from ceph import ACCESS_KEY, SECRET_KEY

    script = str(HERE.parent / "tests/components/ceph.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        settings = S3Settings(
            endpoint=endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False
        )
        Minio(endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False).make_bucket(
            "parfocal"
        )
        yield settings
        process.communicate()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small image, about four minutes")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("Z", "Y", "X"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of a run of the network")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--monai-python", help="Python of an environment with MONAI and torch")
    parser.add_argument("--s3", action="store_true", help="predict in a Ceph gateway, too")
    parser.add_argument("--openvino", action="store_true", help="predict on OpenVINO, too")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    z, y, x = options.shape or (QUICK if options.quick else FULL)
    shape = (z, y, x)
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="parfocal-benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        store = open_store((folder / "store").as_uri())
        fill(store, shape)
        service = stack.enter_context(replica(store, folder, threads=options.threads))
        warm_up(service)
        monai = None
        if options.monai_python:
            monai = Monai(
                options.monai_python,
                folder,
                picture(shape),
                model=base_unet(),
                threads=options.threads,
            )
            stack.callback(monai.close)
        table += speed(service, store, shape, monai=monai, options=options)
        if options.openvino:
            table += on_openvino(stack, store, folder, shape, monai, options)
        table += around_the_model(store, QUICK, rounds=options.rounds)
        for block in ((32, 512, 512), FULL):
            label = f"chunks read / chunks of a block amid others, {'x'.join(map(str, block))}"
            table.append(row(label, chunks_decoded(store, block), "x"))
        table += memory(store, folder)
        table += sameness(folder)
        if options.s3:
            table += in_s3(stack, folder, QUICK, options)
    show(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


def in_s3(
    stack: ExitStack, folder: Path, shape: Triple, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return the same as `speed` for a store in S3, without MONAI."""
    settings = stack.enter_context(ceph())
    store = open_store("s3://parfocal/benchmark", s3=settings)
    fill(store, shape)
    service = stack.enter_context(replica(store, folder, threads=options.threads, s3=settings))
    warm_up(service)
    table = speed(service, store, shape, monai=None, options=options)
    return [{**each, "name": f"S3: {each['name']}"} for each in table]


def on_openvino(
    stack: ExitStack,
    store: ObjectStore,
    folder: Path,
    shape: Triple,
    monai: Monai | None,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Return the same as `speed` for a service that runs models on OpenVINO."""
    service = stack.enter_context(
        replica(store, folder, threads=options.threads, providers=(OPENVINO,))
    )
    warm_up(service, "warm-openvino")
    table = speed(service, store, shape, monai=monai, options=options, provider=OPENVINO)
    return [{**each, "name": f"OpenVINO: {each['name']}"} for each in table]


def fill(store: ObjectStore, shape: Triple) -> None:
    """Put the image and the networks into a store."""
    write_image(store, IMAGE, picture(shape))
    publish(store, "unet", base_unet())
    publish(store, "smoothing", smoothing())


def warm_up(service: Replica, name: str = "warm") -> None:
    """Return when the network is loaded and has run, into the map `name`."""
    box = Box((0, 0, 0), (16, 128, 128))
    ask = request(IMAGE, f"projects/b/predictions/{name}", box, model="unet")
    while True:
        try:
            service.stub.SegmentBlock(ask, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main()
