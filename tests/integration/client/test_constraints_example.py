from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from onnx_graphs import base_model
from parfocal import Client
from parfocal.loop.v1.round_pb2 import Round
from parfocal_standalone import Standalone

PAGE = (Path(__file__).parents[3] / "docs" / "constraints.md").read_text()


def test_the_examples_of_constraints_work_as_they_are_written(
    server: Standalone,
    client: Client,
    parfocal: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    for words in (
        "project create limited",
        "models publish mito mito.onnx",
        "images import stack1.tif --project limited --voxel-size 50,4,4",
        "images import stack2.tif --project limited --voxel-size 50,4,4",
        "round create limited round-1 --image stack1 --image stack2 --base-model mito --budget 2 "
        "--strategy random",
    ):
        done = parfocal(*words.split())
        assert done.exit_code == 0, done.output
    wait_for_queries(client, "round-1")

    suggested = subprocess.run(
        [sys.executable, "-c", shown("python")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PARFOCAL_DATA_DIR": str(server.data_dir),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    for command in shown("sh").replace("\\\n", "").splitlines():
        done = parfocal(*shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
    limited = wait_for_queries(client, "round-2")

    assert suggested.returncode == 0, suggested.stderr
    assert int(suggested.stdout.splitlines()[0]) > 0
    assert limited.spec.constraints.regions[0].mask == "projects/limited/images/tissue.ome.zarr/0"
    assert limited.status.queries > 0


def write_files(folder: Path) -> None:
    section = np.zeros((64, 64), np.uint8)
    section[8:24, 8:24] = section[36:52, 36:52] = 255
    for name in ("stack1", "stack2"):
        tifffile.imwrite(folder / f"{name}.tif", np.stack([section] * 5))
    tifffile.imwrite(folder / "tissue.tif", np.ones((5, 64, 64), np.uint8))
    (folder / "mito.onnx").write_bytes(base_model())


def wait_for_queries(client: Client, name: str) -> Round:
    for found in client.rounds.watch("limited", name, timeout_seconds=60):
        if found.status.queries:
            return found
    raise AssertionError(client.rounds.get("limited", name).status.failure.message)


def shown(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert found is not None
    return found[1].replace("vnc", "limited")
