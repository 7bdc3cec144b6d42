"""Packages of bioimage.io, served to any client of the Open Inference Protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from model_packages import (
    PackageFiles,
    cells_package,
    cells_package_0_4,
    cells_pixels,
    cells_probability,
)
from oip_requests import SECONDS, request
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_runtime.models.packages.publishing import publish_package

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip


def wait_until_ready(oip: Oip, name: str) -> None:
    end = time.monotonic() + SECONDS
    while not oip.stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=SECONDS).ready:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "make"), [("cells-new", cells_package), ("cells-old", cells_package_0_4)]
)
def test_raw_pixels_give_the_output_that_the_package_promises(
    name: str, make: Callable[[], PackageFiles], oip: Oip, tmp_path: Path
) -> None:
    publish_package(oip.store, name, make().as_zip(tmp_path / "cells.zip"))
    wait_until_ready(oip, name)
    raw = cells_pixels()

    answer = oip.stub.ModelInfer(request(name, {"raw": ("FP32", raw)}), timeout=SECONDS)

    (output,) = answer.outputs
    found = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(tuple(output.shape))
    assert (output.name, output.datatype) == ("finished", "FP32")
    np.testing.assert_allclose(found, cells_probability(raw), rtol=1e-4)


def test_a_row_gets_its_own_normalisation_among_others(oip: Oip, tmp_path: Path) -> None:
    publish_package(oip.store, "rows", cells_package().as_folder(tmp_path / "cells"))
    wait_until_ready(oip, "rows")
    raw = np.concatenate([cells_pixels(), cells_pixels() * 3 + 1000])

    answer = oip.stub.ModelInfer(request("rows", {"raw": ("FP32", raw)}), timeout=SECONDS)

    found = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(raw.shape)
    np.testing.assert_allclose(found, cells_probability(raw), rtol=1e-3)
