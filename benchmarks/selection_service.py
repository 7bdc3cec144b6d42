"""The suggestion service as a process of its own: two rounds of core-set, and its peak memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from table import row

from parfocal.suggestion.v1 import strategy_pb2
from parfocal.suggestion.v1 import suggestion_service_pb2 as pb
from parfocal.suggestion.v1.suggestion_service_pb2_grpc import SuggestionServiceStub
from parfocal_runtime.arrays import create_array
from parfocal_runtime.store import open_store

PATH = "projects/bench/embeddings/all/encoder-1.zarr"
LABELLED, PICKS = 1000, 100
MORE_THAN_FEATURES = 1.5e9


def two_rounds(points: Any) -> list[dict[str, Any]]:
    """Suggest twice over gRPC, the picks of the first round labelled in the second."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).as_uri()
        shape, chunks = points.shape, (4096, points.shape[1])
        array = create_array(open_store(root), PATH, shape=shape, dtype=np.float32, chunks=chunks)
        array.write(points).result()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "PARFOCAL_PORT": str(port),
            "PARFOCAL_STORE_URI": root,
            "PARFOCAL_ANONYMOUS_ROLE": "curator",
            "PARFOCAL_LOG_LEVEL": "ERROR",
        }
        service = subprocess.Popen(
            [sys.executable, "-m", "parfocal_suggestion"], env=os.environ | settings
        )
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=60)
                stub = SuggestionServiceStub(channel)
                labelled = list(range(LABELLED))
                first, chosen = _round(stub, "first", labelled)
                second, _ = _round(stub, "second", labelled + chosen)
            peak = _peak_bytes(service.pid)
        finally:
            service.terminate()
            service.wait()
    return [
        row("service: first round", first, "s"),
        row("service: second round", second, "s"),
        row("service: second over first", second / first, "ratio", most=0.1),
        row(
            "service: peak memory beyond the features",
            (peak - points.nbytes) / 1e9,
            "GB",
            most=MORE_THAN_FEATURES / 1e9,
        ),
    ]


def _round(stub: Any, name: str, labelled: list[int]) -> tuple[float, list[int]]:
    request = pb.SuggestRequest(
        parent="projects/bench",
        selection_id=name,
        features=[pb.FeatureStream(name="all", array=PATH)],
        labelled=[pb.LabelledCandidate(candidate=each, verdict=True) for each in labelled],
        strategy=strategy_pb2.Strategy(core_set=strategy_pb2.CoreSetStrategy()),
        budget=PICKS,
        random_share=0.1,
    )
    start = time.perf_counter()
    selection = stub.Suggest(request)
    return time.perf_counter() - start, [pick.candidate for pick in selection.picks]


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
