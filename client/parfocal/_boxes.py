"""Boxes and voxel sizes between tuples and messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from parfocal._errors import InvalidRequestError
from parfocal.common.v1.artifact_pb2 import ModelVersion
from parfocal.common.v1.geometry_pb2 import Box, Index3

Bounds = tuple[Sequence[int], Sequence[int]]
"""First voxel inside and first outside, each (z, y, x)."""

# As many digits as surely fit into an int64.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def box_to_pb(bounds: Bounds) -> Box:
    """Return the message of a half-open box."""
    start, stop = bounds
    return Box(start=index_to_pb(start), stop=index_to_pb(stop))


def index_to_pb(index: Sequence[int]) -> Index3:
    """Return the message of three whole numbers (z, y, x)."""
    z, y, x = index
    return Index3(z=z, y=y, x=x)


def model_to_pb(model: str | ModelVersion) -> ModelVersion:
    """Return the message of `name` (its latest version) or `name/version`.

    Raises:
        InvalidRequestError: If the version is no number from 1 (`ERROR_REASON_INVALID_FIELD`).
    """
    if isinstance(model, ModelVersion):
        return model
    name, separator, version = model.partition("/")
    if separator and not _VERSION.fullmatch(version):
        raise InvalidRequestError(
            f"a model is NAME or NAME/VERSION with a number from 1 as its version, got {model!r}",
            reason="ERROR_REASON_INVALID_FIELD",
            metadata={"field": "model", "value": model},
        )
    return ModelVersion(name=name, version=int(version or 0))
