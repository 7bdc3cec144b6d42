"""Requests of the Open Inference Protocol, and how they fail."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_runtime.channels import domain_error
from parfocal_runtime.errors import DomainError
from parfocal_runtime.models.datatypes import Array

SECONDS = 30.0
"""After which a call of a test has failed."""


def request(
    model: str,
    arrays: dict[str, tuple[str, Array]],
    *,
    outputs: tuple[str, ...] = (),
    id: str = "",
    version: str = "",
) -> pb.ModelInferRequest:
    """Return a request with raw inputs; arrays are (datatype, array) by the input's name."""
    made = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    for name, (datatype, array) in arrays.items():
        made.inputs.add(name=name, datatype=datatype, shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    for name in outputs:
        made.outputs.add(name=name)
    return made


def base_request(
    pixel: int = 51, *, model: str = "base", id: str = "", version: str = ""
) -> pb.ModelInferRequest:
    """Return a request for a base model with an image of one grey value."""
    image = np.full((1, 1, 4, 8, 8), pixel, np.uint8)
    return request(model, {"image": ("UINT8", image)}, id=id, version=version)


def numbers_request(number: int, *, rows: int = 1, id: str = "") -> pb.ModelInferRequest:
    """Return a request for `id-int64`, which gives back `rows` rows of `number`."""
    array = np.full((rows, 2), number, np.int64)
    return request("id-int64", {"x": ("INT64", array)}, id=id)


def failure(call: Any, message: Any) -> DomainError:
    """Return the error that a call with `message` ends in."""
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=SECONDS)
    return domain_error(caught.value)
