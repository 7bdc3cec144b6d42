from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnx_graphs import base_model
from parfocal_standalone import Standalone

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "readme.py"


def test_the_readme_shows_the_example() -> None:
    shown = re.search(
        r"<!-- examples/readme\.py -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )

    assert shown is not None
    assert shown[1] == EXAMPLE.read_text()


def test_the_example_of_the_readme_runs(server: Standalone, parfocal: Any, tmp_path: Path) -> None:
    write_sections(tmp_path)
    (tmp_path / "mito.onnx").write_bytes(base_model())
    published = parfocal("models", "publish", "mito", tmp_path / "mito.onnx")
    assert published.exit_code == 0, published.output

    done = run(EXAMPLE.read_text(), server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "100% of the proposals are right, by 2 random ones\n"


def test_without_its_model_the_example_says_what_failed(server: Standalone, tmp_path: Path) -> None:
    write_sections(tmp_path)

    done = run(
        EXAMPLE.read_text().replace('"vnc"', '"bare"').replace("mito", "absent"), server, tmp_path
    )

    assert done.returncode == 1
    assert "absent" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_where_nothing_is_measured_the_example_makes_up_no_number(
    server: Standalone, parfocal: Any, tmp_path: Path
) -> None:
    write_sections(tmp_path)
    (tmp_path / "mito.onnx").write_bytes(base_model())
    parfocal("models", "publish", "unsure", tmp_path / "mito.onnx")
    example = EXAMPLE.read_text().replace('"vnc"', '"unsure"').replace('"mito"', '"unsure"')

    done = run(example.replace("name: True", "name: None"), server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "%" not in done.stdout
    assert "label" in done.stdout


def write_sections(folder: Path) -> None:
    section = np.zeros((64, 64), np.uint8)
    section[8:24, 8:24] = section[36:52, 36:52] = 255
    (folder / "sections").mkdir()
    for z in range(4):
        Image.fromarray(section).save(folder / "sections" / f"z{z}.png")


def run(example: str, server: Standalone, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PARFOCAL_DATA_DIR": str(server.data_dir),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
