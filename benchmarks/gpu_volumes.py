"""Whole images on a GPU: in this process, through the service, and by MONAI; parts of `gpu.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from gpu_lab import Bench, Model
from gpu_service import GpuWatch
from table import row
from volume_lab import Image, Monai

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.inference.v1 import inference_service_pb2 as service_pb
from parfocal.inference.v1 import inference_service_pb2_grpc as service_grpc
from parfocal_inference.segment import Pixels, Probability, Tally, segment_sections
from parfocal_inference.windows import WindowGrid
from parfocal_runtime.arrays import create_array, open_array
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.models.sessions import open_session
from parfocal_runtime.store import open_store

Table = list[dict[str, Any]]

IMAGE_IN_MEMORY: Triple = (64, 1024, 2048)
IMAGE_OF_VOLUME: Triple = (64, 2048, 2048)
OF_MONAI: Triple = (64, 1024, 1024)
CORNER: Triple = (32, 256, 256)
BLOCK: Triple = (64, 512, 512)
WINDOW: Triple = (16, 128, 128)
OVERLAP = 0.25
BLOCKS_AT_ONCE = 4


def in_memory(bench: Bench) -> Table:
    """Measure blocks of an image in memory, predicted in this process as the service does it."""
    table: Table = []
    model = next(each for each in bench.models if each.name == "unet")
    shape, block = (IMAGE_IN_MEMORY, BLOCK) if bench.on_gpu else (CORNER, (32, 128, 128))
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    grid = WindowGrid.overlapping(shape, WINDOW, overlap=OVERLAP)
    for bits, graph in (("fp32", model.full), ("fp16", model.half)):
        session = open_session(graph, options=bench.options(bits))

        def predict(windows: Pixels, session: Any = session) -> Probability:
            found: Probability = session.run({model.source: windows})[model.result]
            return found

        def predicted(box: Box, predict: Any = predict) -> int:
            tally = Tally()
            for _ in segment_sections(
                lambda inside: image[inside.slices],
                predict,
                grid=grid,
                box=box,
                batch=model.most,
                tally=tally,
            ):
                pass
            return tally.windows

        predict(model.batch(model.most))
        began = time.perf_counter()
        with GpuWatch() as watch, ThreadPoolExecutor(BLOCKS_AT_ONCE) as pool:
            windows = sum(pool.map(predicted, blocks(shape, block)))
        rate = windows / (time.perf_counter() - began)
        name = f"unet {bits}, an image in memory"
        table += [
            row(f"{name}, windows", rate, "1/s"),
            row(f"{name}, windows / alone", rate / bench.limit(model, bits), "x"),
            row(name, math.prod(shape) * rate / windows / 1e6, "Mvoxel/s"),
        ]
        busy = watch.busy()
        if busy is not None:
            table.append(row(f"{name}, GPU busy", busy, "share", least=0.9))
    return table


def volume(bench: Bench) -> Table:
    """Measure SegmentBlock over a whole image, and how busy it keeps the GPU."""
    table: Table = []
    model = next(each for each in bench.models if each.name == "unet")
    shape, block = (IMAGE_OF_VOLUME, BLOCK) if bench.on_gpu else (CORNER, CORNER)
    path = "projects/p/images/volume.ome.zarr/0"
    store = open_store((bench.folder / "store").as_uri())
    array = create_array(store, path, shape=shape, dtype=np.uint8, chunks=(16, 128, 128))
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    array[...] = image
    monai = peer(bench, model, image)
    stub = service_grpc.InferenceServiceStub(bench.service.channel)
    for name, bits in (("unet", "fp32"), ("unet-fp16", "fp16")):
        requests = [request(path, name, box) for box in blocks(shape, block)]
        began, cpu = time.perf_counter(), bench.service.cpu_seconds()
        with GpuWatch() as watch, ThreadPoolExecutor(BLOCKS_AT_ONCE) as pool:
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
            table.append(row(f"{name} over an image, GPU busy", busy, "share", least=0.9))
        if monai is not None:
            corner = OF_MONAI if bench.on_gpu else shape
            best, seconds = monai_at_best(monai, corner, bits)
            rate = math.prod(corner) / seconds / 1e6
            ratio = math.prod(shape) / took / 1e6 / rate
            label = f"{name} over an image, MONAI at sw_batch {best}"
            table.append(row(label, rate, "Mvoxel/s"))
            table.append(row(f"{name} over an image / MONAI", ratio, "x", least=1.4))
            # Windows lie alike there: they begin at the same corner.
            inside = np.s_[:, : corner[1] // 2, : corner[2] // 2]
            ours = np.asarray(open_array(store, requests[0].prediction)[inside].read().result())
            apart = np.abs(ours.astype(np.int16) - monai.map()[inside]).mean()
            table.append(row(f"{name}, mean difference from MONAI's map", apart, "/255", most=2))
    return table


def peer(bench: Bench, model: Model, image: Image) -> Monai | None:
    """Return MONAI with the weights of `model`, if there is an environment of it."""
    if not bench.monai_python:
        return None
    device = "cuda" if bench.on_gpu else "cpu"
    monai = Monai(
        bench.monai_python, bench.folder, image, model=model.full, threads=1, device=device
    )
    bench.stack.callback(monai.close)
    return monai


def monai_at_best(monai: Monai, shape: Triple, bits: str) -> tuple[int, float]:
    """Return the fastest `sw_batch_size` and the seconds that it took, of the second run."""
    times = {}
    for batch in (4, 8, 16):
        monai.run(batch, (min(shape[0], 32), min(shape[1], 256), min(shape[2], 256)), bits=bits)
        times[batch] = monai.run(batch, shape, bits=bits).wall
    best = min(times, key=lambda batch: times[batch])
    return best, times[best]


def blocks(shape: Triple, block: Triple) -> Iterator[Box]:
    """Yield the boxes that cut an image into blocks."""
    starts = [range(0, side, step) for side, step in zip(shape, block, strict=True)]
    for z, y, x in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3).tolist():
        stop = [min(a + b, c) for a, b, c in zip((z, y, x), block, shape, strict=True)]
        yield Box((z, y, x), (stop[0], stop[1], stop[2]))


def request(image: str, model: str, box: Box) -> service_pb.SegmentBlockRequest:
    """Return the request for one block."""
    return service_pb.SegmentBlockRequest(
        image=image,
        prediction=f"projects/p/predictions/volume/{model}-1.ome.zarr/0",
        box=geometry_pb2.Box(start=_index(box.start), stop=_index(box.stop)),
        model=artifact_pb2.ModelVersion(name=model, version=1),
    )


def _index(corner: Triple) -> geometry_pb2.Index3:
    z, y, x = corner
    return geometry_pb2.Index3(z=z, y=y, x=x)
