"""What variants of models with fewer bits save, and what they give up, on the processor.

    python benchmarks/variants.py [--quick] [--json FILE]

The classifier and the U-Net of `serving.py`, of random weights. `difference` is the largest of an
output's elements as a share of the largest value or of 1, on eight inputs of noise; of the U-Net's
probabilities `changed` is the share that changes sides at one half. Each is made as `parfocal
models variant` makes it. Runs of the original and of a variant take turns, on one thread; the
figures are medians. `footprint` is what the memory budget counts, over what the process really
takes more once the model has run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
from serving_models import IMAGE, VOLUME, classifier, unet
from table import row, show

from parfocal_runtime.errors import DomainError
from parfocal_runtime.models.cards import Precision
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.footprint import footprint
from parfocal_runtime.models.placement import Placement
from parfocal_runtime.models.sessions import ModelSession, SessionOptions, open_session
from parfocal_runtime.models.variants import compared, converted, half_rounded

ONE_THREAD = SessionOptions(threads=1)
ROWS = 8
MODELS = {"classifier": (classifier, IMAGE), "unet": (unet, VOLUME)}


def noise(shape: tuple[int, ...], rows: int) -> dict[str, Any]:
    """Return rows of noise."""
    return {"x": np.random.default_rng(rows).random((rows, *shape), dtype=np.float32)}


def seconds(session: ModelSession, feed: dict[str, Any]) -> float:
    """Return the processor time of a run."""
    began = time.process_time()
    session.run(feed)
    return time.process_time() - began


def variant(name: str, precision: Precision, rounds: int) -> list[dict[str, Any]]:
    """Return what one variant of a model saves and gives up."""
    made, shape = MODELS[name]
    graph = made()
    label = f"{name} {precision}"
    smaller = converted(graph, precision)
    original = open_session(graph, options=ONE_THREAD)
    served = open_session(smaller, options=ONE_THREAD)
    judged = open_session(half_rounded(graph)) if precision == "fp16" else served
    inputs = [noise(shape, rows) for rows in (3, ROWS - 3)]
    report = compared(original, judged, inputs, is_base=name == "unet")
    ratios = []
    for _ in range(rounds):
        feed = noise(shape, 2)
        ratios.append(seconds(original, feed) / seconds(served, feed))
    table = [
        row(f"{label} size / fp32", len(smaller) / len(graph), "x"),
        row(f"{label} difference", report.difference, "share"),
        row(f"{label} speed / fp32, one thread", statistics.median(ratios), "x"),
    ]
    # Three digits behind the point would hide them.
    table[1]["value"] = float(f"{report.difference:.2g}")
    if report.changed is not None:
        table.append(row(f"{label} changed", 100 * report.changed, "%"))
    return table


def memory(name: str) -> dict[str, Any]:
    """Return the footprint of a model over the memory that it takes, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken = pool.apply(_taken, (name,))
    made, shape = MODELS[name]
    config = read_config(f"max_batch_size: {ROWS}".encode())
    told = footprint(made(), config, [Placement(ONE_THREAD)], {"x": (1, *shape)})
    return row(f"{name} footprint / memory taken", told.total / taken, "x")


def _taken(name: str) -> int:
    made, shape = MODELS[name]
    graph, feed = made(), noise(shape, ROWS)
    before = _resident()
    session = open_session(graph, options=ONE_THREAD)
    session.run(feed)
    return _resident() - before


def _resident() -> int:
    fields = Path("/proc/self/status").read_text().split()
    return 1024 * int(fields[fields.index("VmHWM:") + 1])


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, about a minute")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    table: list[dict[str, Any]] = []
    for name in MODELS:
        for precision in get_args(Precision):
            try:
                table += variant(name, precision, rounds=5 if options.quick else 15)
            except DomainError as error:
                print(f"{name} {precision}: {error.message}")
        table.append(memory(name))
    show(table)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
