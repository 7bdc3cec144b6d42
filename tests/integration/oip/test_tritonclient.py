"""NVIDIA's client, from an environment of its own: it pins an older protobuf than ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-tritonclient" / "bin" / "python"
INSTALL = "tests/components/tritonclient_venv.sh"


@pytest.fixture(scope="module")
def seen(oip: Oip) -> dict[str, Any]:
    """What the client saw of the server."""
    if not PYTHON.exists():
        message = f"needs tritonclient in .venv-tritonclient: run {INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    script = Path(__file__).with_name("triton_client.py")
    done = subprocess.run(
        [PYTHON, script, oip.server.address, oip.token],
        capture_output=True,
        text=True,
        timeout=120,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_tritonclient_finds_the_server_live_and_ready(seen: dict[str, Any]) -> None:
    assert seen["live"]
    assert seen["ready"]
    assert seen["server"] == "parfocal"


def test_tritonclient_knows_which_models_are_ready(seen: dict[str, Any]) -> None:
    assert seen["model_ready"]
    assert not seen["broken_ready"]


def test_tritonclient_reads_the_metadata_of_a_model(seen: dict[str, Any]) -> None:
    (image,) = seen["metadata"]["inputs"]

    assert image == {"name": "image", "datatype": "UINT8", "shape": ["-1", "1", "4", "8", "8"]}
    assert seen["metadata"]["platform"] == "onnxruntime_onnx"


def test_tritonclient_gets_a_correct_answer_with_its_id(seen: dict[str, Any]) -> None:
    assert seen["id"] == "lab-1"
    assert seen["shape"] == [2, 1, 4, 8, 8]
    assert seen["largest_error"] < 1e-6


def test_tritonclient_sends_and_gets_text(seen: dict[str, Any]) -> None:
    assert seen["words"] == ["mito", "vesicle"]


def test_tritonclient_hears_that_a_model_is_unknown(seen: dict[str, Any]) -> None:
    assert seen["unknown"] == "StatusCode.NOT_FOUND"
