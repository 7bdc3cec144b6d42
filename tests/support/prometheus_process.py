"""A real Prometheus that looks at a server of a test."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

SECONDS = 60.0
"""Nothing takes as long, unless it hangs."""

Query = Callable[[str], list[dict[str, Any]]]


def require(program: str) -> str:
    """Return the path of a program; without it the test is skipped, but not in CI."""
    found = shutil.which(program)
    if found is None:
        assert os.environ.get("CI") != "true", f"{program} is missing, and in CI nothing is skipped"
        pytest.skip(f"{program} is not installed")
    return found


@contextmanager
def prometheus(
    program: str, folder: Path, target: str, labels: Mapping[str, str]
) -> Iterator[Query]:
    """Yield what asks a Prometheus that looks at `target` five times a second.

    Args:
        program: Path of the program.
        folder: An empty folder for its settings and data.
        target: Host and port of the metrics.
        labels: Labels that its scrape adds.
    """
    job = {"job_name": "lab", "static_configs": [{"targets": [target], "labels": dict(labels)}]}
    settings = {"global": {"scrape_interval": "200ms"}, "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    log = folder / "log"
    with log.open("w") as lines, subprocess.Popen(command, stderr=lines) as running:
        try:
            address = listening(log)
            wait_until_ready(address)
            yield lambda text: asked(address, text)
        finally:
            running.kill()


def listening(log: Path) -> str:
    """The address that a Prometheus took, once it says so."""
    end = time.monotonic() + SECONDS
    while not (found := re.search(r'"Listening on" address=(\S+)', log.read_text())):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
    return found[1]


def wait_until_ready(address: str) -> None:
    """Return when a Prometheus answers queries; it listens before it has opened its data."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=10):
                return
        except urllib.error.URLError:
            assert time.monotonic() < end
            time.sleep(0.02)


def asked(address: str, text: str) -> list[dict[str, Any]]:
    """Return what a query gives now."""
    query = urllib.parse.urlencode({"query": text})
    with urllib.request.urlopen(f"http://{address}/api/v1/query?{query}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found
