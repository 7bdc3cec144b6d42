"""Requests of the inference service that work, and what comes of those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from parfocal.common.v1 import artifact_pb2, geometry_pb2
from parfocal.inference.v1 import inference_service_pb2 as pb
from parfocal_runtime.channels import domain_error

IMAGE = "projects/demo/images/vnc.ome.zarr/0"
PREDICTION = "projects/demo/predictions/vnc/grey-1.ome.zarr/0"
CANDIDATES = "projects/demo/candidates/first"


def box(*corners: int) -> geometry_pb2.Box:
    """Return a box from z0, y0, x0, z1, y1, x1."""
    start, stop = (geometry_pb2.Index3(z=z, y=y, x=x) for z, y, x in (corners[:3], corners[3:]))
    return geometry_pb2.Box(start=start, stop=stop)


def block(**changes: Any) -> pb.SegmentBlockRequest:
    """Return a request to predict the whole image, with `changes`."""
    fields: dict[str, Any] = {
        "image": IMAGE,
        "prediction": PREDICTION,
        "box": box(0, 0, 0, 6, 40, 200),
        "model": artifact_pb2.ModelVersion(name="grey"),
        "overlap": 0.5,
    }
    return pb.SegmentBlockRequest(**{**fields, **changes})


def source(**changes: Any) -> pb.CandidateSource:
    """Return the image with its map, with `changes`."""
    return pb.CandidateSource(**{"image": IMAGE, "prediction": PREDICTION, **changes})


def wish(**changes: Any) -> pb.ProposeCandidatesRequest:
    """Return a request for a candidate set, with `changes`."""
    fields: dict[str, Any] = {
        "candidates": CANDIDATES,
        "sources": [source()],
        "threshold": 0.6,
        "minimum_voxels": 5,
        "patch_side": 16,
        "block_shape": geometry_pb2.Index3(z=4, y=16, x=16),
    }
    return pb.ProposeCandidatesRequest(**{**fields, **changes})


def failure(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Return status, reason and metadata of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = domain_error(caught.value)
    return caught.value.code(), error.reason, error.metadata
