"""Other people's clients, in environments of their own: each pins an older protobuf than ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = _ROOT / "tests/integration/oip"
_INSTALL = "tests/components/client_venvs.sh"


def interpreter(client: str) -> Path:
    """The interpreter of a client's environment; the test that asks is skipped if there is none."""
    python = _ROOT / f".venv-{client}" / "bin" / "python"
    if not python.exists():
        message = f"needs {client} in .venv-{client}: run {_INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return python


def printed_by(client: str, script: str, *arguments: str) -> Any:
    """What a script beside the tests of the protocol prints in the environment of a client."""
    done = subprocess.run(
        [interpreter(client), _SCRIPTS / script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
