"""Models on a GPU: ONNX Runtime alone, the service through gRPC, fewer bits, and whole images.

    python benchmarks/gpu.py [--part PART ...] [--quick] [--json FILE] [--provider cpu]
                             [--monai-python FILE] [--mlserver-python FILE]

Two models of a size as people train them: a residual classifier of images 128 x 128 with 4.9
million parameters, and a 3-D U-Net of 32, 64, 128 and 256 channels for volumes 16 x 128 x 128. Both
take uint8. `fp16` is the variant that `publish_variant` makes. The limit of all ratios is ONNX
Runtime alone at its best batch, with one copy to the device and one back for each run, by one
thread or two. The callers are four processes of their own. `--monai-python` names the Python of an
environment with MONAI and torch for the same GPU: `sliding_window_inference` with the same weights
finds the image in memory and leaves the map there, at the `sw_batch_size` that is fastest.
`--mlserver-python` names that of one with mlserver 1.7.1, the same ONNX Runtime and uvloop < 0.22.

`--provider cpu` runs everything with small models where there is no GPU, to try the program.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from gpu_lab import Alone, AloneBound, Bench, Model, per_second, rates, together
from gpu_service import Pauses, answered
from gpu_volumes import in_memory, volume
from table import row, show

from parfocal_runtime.models.providers import CPU, CUDA
from parfocal_runtime.models.sessions import ModelSession, open_session

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests/support"))
from mlserver_process import Mlserver, mlserver  # the tests need it as well

Table = list[dict[str, Any]]


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


def peers(bench: Bench) -> Table:
    """Compare with MLServer at its best, without and with its batching, one item a call."""
    if not bench.mlserver_python:
        return []
    graphs = {}
    for model in bench.models:
        graphs |= {model.name: model.full, f"{model.name}-fp16": model.half}
    with ExitStack() as stack:
        addresses = [
            f"127.0.0.1:{stack.enter_context(started).port}" for started in mlservers(bench, graphs)
        ]
        return [line for model in bench.models for line in beside(bench, model, addresses)]


def mlservers(bench: Bench, graphs: Mapping[str, bytes]) -> list[AbstractContextManager[Mlserver]]:
    """Return MLServer without and with its batching, to be started."""
    python, provider = Path(bench.mlserver_python), CUDA if bench.on_gpu else CPU
    batching: list[dict[str, Any]] = [{}, {"max_batch_size": 32, "max_batch_seconds": 0.002}]
    return [
        mlserver(python, bench.folder / f"mlserver-{at}", graphs, provider=provider, **each)
        for at, each in enumerate(batching)
    ]


def beside(bench: Bench, model: Model, addresses: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield how many answers a second there are of a model, ours over MLServer's."""
    least = {"classifier": 2.0, "unet": 1.15}[model.name]
    for name, callers in product((model.name, f"{model.name}-fp16"), (8, 32)):
        request = model.request(name, 1)
        for address in addresses:
            answered(address, request)
        theirs = [
            bench.callers.per_second(address, request, callers=callers, seconds=2 * bench.seconds)
            for address in addresses
        ]
        ours = bench.load(name, request, callers=callers).per_second
        yield row(f"{name}, {callers} callers, MLServer", max(theirs), "1/s")
        ratio = ours / max(theirs)
        yield row(f"{name}, {callers} callers, ours / MLServer", ratio, "x", least=least)


def copies(bench: Bench) -> Table:
    """Compare ways to bring arrays to the device and back, by two threads beside a third."""
    table: Table = []
    for model in bench.models:
        session = open_session(model.full, options=bench.options())
        for what, kind in (("run()", Alone), ("bound", AloneBound)):
            pair = [kind(session, model, model.most).run for _ in range(2)]
            with Pauses() as pauses:
                rate = model.most * together(pair, bench.seconds)
            name = f"{model.name} batch {model.most}, two threads, {what}"
            table.append(row(name, rate, "1/s"))
            table.append(row(f"{name}, longest pause of others", pauses.longest_ms, "ms"))
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


PARTS: Mapping[str, Callable[[Bench], Table]] = {
    part.__name__: part
    for part in (check, alone, serving, batching, copies, in_memory, volume, peers, search)
}


def main() -> int:
    """Run what the command line asks for; return 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=list(PARTS), action="append", help="all by default")
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--search", default="", help="how cuDNN chooses: EXHAUSTIVE, HEURISTIC")
    parser.add_argument("--monai-python", default="", help="of an environment with MONAI, torch")
    parser.add_argument("--mlserver-python", default="", help="of an environment with MLServer")
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
            monai_python=options.monai_python,
            mlserver_python=options.mlserver_python,
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
