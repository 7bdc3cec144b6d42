"""The stubs that KServe and MLServer ship, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from foreign_environments import printed_by

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip


@pytest.fixture(scope="module", params=["kserve", "mlserver"])
def seen(oip: Oip, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a client saw of the server, and `dialect`, whose it is."""
    oip.publish("visiting")
    dialect: str = request.param
    arguments = (dialect, oip.server.address, oip.token, oip.admin_token)
    return {"dialect": dialect, **printed_by(dialect, "stub_client.py", *arguments)}


def test_the_server_and_its_models_are_found_ready(seen: dict[str, Any]) -> None:
    assert seen["live"]
    assert seen["ready"]
    assert seen["server"] == "parfocal"
    assert seen["models_ready"] == [True, False]


def test_the_metadata_of_a_model_is_read(seen: dict[str, Any]) -> None:
    assert seen["platform"] == "onnxruntime_onnx"
    assert seen["inputs"] == [["image", "UINT8", [-1, 1, 4, 8, 8]]]


def test_an_answer_is_right_with_its_id_from_raw_and_typed_contents(seen: dict[str, Any]) -> None:
    assert seen["id"] == "lab-1"
    assert seen["output"] == ["probability", "FP32", [2, 1, 4, 8, 8]]
    assert seen["probability"] == pytest.approx([grey / 255 for grey in seen["image"]])
    assert seen["typed_is_raw"]


def test_failures_have_their_status(seen: dict[str, Any]) -> None:
    found = (seen["unknown"], seen["bad"], seen["refused"])

    assert found == ("NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED")


def test_models_come_and_go(seen: dict[str, Any]) -> None:
    told = {
        "kserve": (
            'model_name: "visiting" isLoaded: true',
            'model_name: "visiting" isUnloaded: true',
        ),
        # Its answers have no fields.
        "mlserver": ("", ""),
    }

    assert (seen["loaded"], seen["unloaded"]) == told[seen["dialect"]]
    assert not seen["ready_after_unload"]
    assert seen["ready_after_load"]
    if seen["dialect"] == "mlserver":
        assert (seen["states"]["visiting"], seen["states"]["broken"]) == ("READY", "UNAVAILABLE")
