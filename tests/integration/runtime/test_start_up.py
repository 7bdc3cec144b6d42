"""Services that are told what they cannot do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SERVICES = ("embedding", "inference", "labels", "loop", "suggestion", "training")


@pytest.mark.parametrize("service", SERVICES)
def test_a_setting_that_cannot_be_used_is_told_in_one_line(service: str) -> None:
    variable = f"PARFOCAL_{service.upper()}_PORT"

    done = subprocess.run(
        [sys.executable, "-m", f"parfocal_{service}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), variable: "here"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {variable}")
    assert len(done.stderr.splitlines()) == 1
