"""Constraints as messages and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from parfocal.common.v1 import geometry_pb2 as geometry_pb
from parfocal.suggestion.v1 import constraints_pb2 as pb
from parfocal_runtime.errors import InvalidInput
from parfocal_suggestion.constraints import (
    IMAGE,
    ClassQuota,
    Constraints,
    GroupLimit,
    RegionMask,
)

MOST_LIMITS = 100
"""Groups, quotas and masks in one request, each."""

_LARGEST_CLASS = 1 << 16

Resolve: TypeAlias = Callable[[str], str]

Part = TypeVar("Part", ClassQuota, RegionMask)


def constraints_from_pb(message: pb.Constraints, resolve: Resolve) -> Constraints:
    """Read constraints.

    Raises:
        InvalidInput: If a limit has a value that can never work.
        PermissionDenied: If a mask lies outside the store.
    """
    for field in ("groups", "quotas", "regions"):
        count = len(getattr(message, field))
        if count > MOST_LIMITS:
            raise _invalid(f"constraints.{field}", count, f"may be at most {MOST_LIMITS}")
    minutes, seconds, column = _time_from_pb(message)
    return Constraints(
        groups=(*_per_image(message.maximum_per_image), *map(_group_from_pb, message.groups)),
        minimum_distance_nm=_not_negative("minimum_distance_nm", message.minimum_distance_nm),
        voxel_size_nm=_voxel_size_from_pb(message),
        quotas=_each_once(
            "quotas.predicted_class", [_quota_from_pb(one) for one in message.quotas]
        ),
        regions=_each_once(
            "regions.source", [_region_from_pb(each, resolve) for each in message.regions]
        ),
        minutes=minutes,
        seconds_per_item=seconds,
        seconds_column=column,
    )


def constraints_to_pb(constraints: Constraints) -> pb.Constraints:
    """Write constraints; a maximum per image is one of groups."""
    message = pb.Constraints(
        groups=[pb.GroupLimit(**vars(each)) for each in constraints.groups],
        minimum_distance_nm=constraints.minimum_distance_nm,
        quotas=[_quota_to_pb(each) for each in constraints.quotas],
        regions=[pb.RegionMask(**vars(each)) for each in constraints.regions],
    )
    if constraints.voxel_size_nm:
        z, y, x = constraints.voxel_size_nm
        message.voxel_size.CopyFrom(geometry_pb.VoxelSize(z=z, y=y, x=x))
    if constraints.minutes:
        message.time.minutes = constraints.minutes
        if constraints.seconds_column:
            message.time.seconds_column = constraints.seconds_column
        else:
            message.time.seconds_per_item = constraints.seconds_per_item
    return message


def _per_image(maximum: int) -> Sequence[GroupLimit]:
    if maximum < 0:
        raise _invalid("constraints.maximum_per_image", maximum, "must be 0 or more")
    return [GroupLimit((IMAGE,), maximum)] if maximum else []


def _group_from_pb(message: pb.GroupLimit) -> GroupLimit:
    if not message.columns or not all(message.columns):
        raise _missing("constraints.groups.columns", "a group needs a column")
    if message.maximum < 1:
        raise _invalid("constraints.groups.maximum", message.maximum, "must be 1 or more")
    return GroupLimit(tuple(dict.fromkeys(message.columns)), message.maximum)


def _quota_from_pb(message: pb.ClassQuota) -> ClassQuota:
    own = message.predicted_class
    if not 0 <= own <= _LARGEST_CLASS:
        raise _invalid("constraints.quotas.predicted_class", own, f"must be 0 to {_LARGEST_CLASS}")
    limit = message.WhichOneof("limit")
    if limit is None:
        raise _missing("constraints.quotas", f"the quota of class {own} needs a maximum or a share")
    if limit == "maximum" and message.maximum < 0:
        raise _invalid("constraints.quotas.maximum", message.maximum, "must be 0 or more")
    if limit == "share" and not 0 <= message.share <= 1:
        raise _invalid("constraints.quotas.share", message.share, "must be 0 to 1")
    return ClassQuota(own, message.maximum, message.share)


def _quota_to_pb(quota: ClassQuota) -> pb.ClassQuota:
    if quota.share:
        return pb.ClassQuota(predicted_class=quota.predicted_class, share=quota.share)
    return pb.ClassQuota(predicted_class=quota.predicted_class, maximum=quota.maximum)


def _region_from_pb(message: pb.RegionMask, resolve: Resolve) -> RegionMask:
    if not message.mask:
        raise _missing("constraints.regions.mask", "a region needs a mask")
    return RegionMask(message.source, resolve(message.mask))


def _voxel_size_from_pb(message: pb.Constraints) -> tuple[float, ...]:
    if not message.HasField("voxel_size"):
        return ()
    size = (message.voxel_size.z, message.voxel_size.y, message.voxel_size.x)
    if not all(math.isfinite(side) and side > 0 for side in size):
        raise _invalid("constraints.voxel_size", size, "must be above 0")
    return size


def _time_from_pb(message: pb.Constraints) -> tuple[float, float, str]:
    if not message.HasField("time"):
        return 0.0, 0.0, ""
    time = message.time
    if not (math.isfinite(time.minutes) and time.minutes > 0):
        raise _invalid("constraints.time.minutes", time.minutes, "must be above 0")
    kind = time.WhichOneof("seconds")
    if kind is None or (kind == "seconds_column" and not time.seconds_column):
        raise _missing("constraints.time.seconds_per_item", "a budget of time needs the seconds")
    seconds = time.seconds_per_item
    if kind == "seconds_per_item" and not (math.isfinite(seconds) and seconds > 0):
        raise _invalid("constraints.time.seconds_per_item", seconds, "must be above 0")
    return time.minutes, seconds, time.seconds_column


def _not_negative(field: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise _invalid(f"constraints.{field}", value, "must be 0 or more")
    return value


def _each_once(field: str, parts: list[Part]) -> tuple[Part, ...]:
    attribute = field.rpartition(".")[2]
    values = [getattr(part, attribute) for part in parts]
    if len(set(values)) < len(values):
        raise _invalid(f"constraints.{field}", values, "must be different")
    return tuple(parts)


def _invalid(field: str, value: object, fault: str) -> InvalidInput:
    return InvalidInput(
        "ERROR_REASON_INVALID_FIELD", f"{field} {fault}, got {value!r}", field=field, value=value
    )


def _missing(field: str, message: str) -> InvalidInput:
    return InvalidInput("ERROR_REASON_MISSING_FIELD", message, field=field)
