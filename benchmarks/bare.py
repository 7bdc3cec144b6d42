"""Runs of a graph without us: by ONNX Runtime or OpenVINO alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parfocal_runtime.models.providers import OPENVINO, SessionOptions, openvino_settings
from parfocal_runtime.models.sessions import open_session

Runner = Callable[[dict[str, Any]], Any]


def runner(model: bytes, output: str, *, threads: int, provider: str) -> Runner:
    """Return what runs a model once on arrays by the input's name, for one of its outputs."""
    if provider != OPENVINO:
        run = open_session(model, options=SessionOptions(threads=threads))._session.run
        return lambda feed: run([output], feed)
    import openvino

    settings = openvino_settings(SessionOptions(providers=(OPENVINO,), threads=threads), 1)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    request = compiled.create_infer_request()
    # Without copies of what goes in and what comes out.
    return lambda feed: request.infer(feed, share_inputs=True, share_outputs=True)
