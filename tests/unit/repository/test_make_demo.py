from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_demo_takes_paths_with_spaces() -> None:
    given = {"IMAGES": "my images", "TRUTH": "my truth", "OUT": "runs/my demo"}

    told = subprocess.run(
        ["make", "-n", "demo", *(f"{name}={path}" for name, path in given.items())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    words = shlex.split(next(line for line in told.splitlines() if "parfocal demo" in line))
    assert words[1:] == [
        "demo", "--out", "runs/my demo", "--images", "my images", "--truth", "my truth",
    ]  # fmt: skip
