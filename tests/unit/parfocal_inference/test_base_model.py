from __future__ import annotations

import numpy as np
import pytest

from onnx_graphs import base_model, base_model_card
from parfocal_inference.base_model import BaseModel
from parfocal_runtime.models.config_pbtxt import default_config
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.models.sessions import open_session
from watched_session import WatchedSession


def opened(*, on_gpu: bool, max_batch_size: int = 64) -> BaseModel:
    session = WatchedSession(open_session(base_model()), on_gpu=on_gpu)
    config = default_config("m", session.inputs, session.outputs)
    config.max_batch_size = max_batch_size
    return BaseModel(LoadedModel("m", 1, base_model_card(), session, {}, config))


@pytest.mark.parametrize(
    ("on_gpu", "max_batch_size", "windows"),
    [(False, 64, 1), (True, 64, 8), (True, 4, 4), (True, 0, 1)],
)
def test_windows_share_runs_on_a_gpu_as_far_as_the_model_takes_them(
    on_gpu: bool, max_batch_size: int, windows: int
) -> None:
    model = opened(on_gpu=on_gpu, max_batch_size=max_batch_size)

    assert model.windows_per_run == windows
    pixels = np.full((model.windows_per_run, 1, *model.window), 51, np.uint8)
    assert (model(pixels) == np.float32(0.2)).all()
