"""Commands on images in an S3 service that refuses, stays silent, or comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from away_stores import coming_back, environment, refusing, silent
from parfocal._images.place import place

# tensorstore keeps for the whole process how long it bears silence.
COMMAND = """
import sys
from parfocal._images import place
from parfocal.cli._app import app

place._SILENCE_SECONDS = 1
app(sys.argv[1:])
"""


def reached_at(endpoint: str) -> dict[str, str]:
    return {
        "PARFOCAL_S3_ENDPOINT": endpoint,
        "PARFOCAL_S3_ACCESS_KEY": "a",
        "PARFOCAL_S3_SECRET_KEY": "b",
        "PARFOCAL_S3_SECURE": "false",
    }


def command(endpoint: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words, "--project", "p", "--store", "s3://bucket"],
        env={**environment(), **reached_at(endpoint)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("away", [refusing, silent])
def test_images_in_a_store_that_does_not_answer_are_one_line(
    away: Callable[[], AbstractContextManager[str]], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 8, 8), np.uint8))
    there = "s3://bucket/a.ome.zarr"

    with away() as endpoint:
        commands = [
            command(endpoint, "images", "import", str(tmp_path / "a.tif")),
            command(endpoint, "images", "import", there),
            command(endpoint, "images", "show", "a"),
        ]
        try:
            ended = [(each, each.communicate(timeout=60)[1]) for each in commands]
        finally:
            for each in commands:
                each.kill()

    for process, text in ended:
        assert process.returncode == 6, text
        assert text.startswith("error: cannot reach s3://bucket/")
        assert text.endswith("[ERROR_REASON_DEPENDENCY_UNAVAILABLE]\n")
        assert text.count("\n") == 1


def test_a_store_that_comes_back_is_waited_for() -> None:
    with coming_back(1) as endpoint:
        assert place("s3://bucket", environment=reached_at(endpoint)).read("a") is None
