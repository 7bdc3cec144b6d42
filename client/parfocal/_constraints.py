"""What may be chosen together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat, TypeAlias

import numpy as np

from parfocal._errors import InvalidRequestError
from parfocal.common.v1.geometry_pb2 import VoxelSize
from parfocal.suggestion.v1.constraints_pb2 import (
    ClassQuota,
    Constraints,
    GroupLimit,
    RegionMask,
    TimeBudget,
)

Columns: TypeAlias = str | tuple[str, ...]
"""A column of the candidate table, or several that must all agree."""


def constraints(
    *,
    per_image: int = 0,
    groups: Mapping[Columns, int] | None = None,
    apart_nm: float = 0.0,
    voxel_size_nm: tuple[float, float, float] | None = None,
    quotas: Mapping[int, SupportsFloat] | None = None,
    regions: Mapping[int, str] | None = None,
    minutes: float = 0.0,
    seconds: float | str = 0.0,
) -> Constraints:
    """Return limits on what is chosen together, for `suggest` and `round_spec`.

    Args:
        per_image: At most this many of one image; 0 is no limit.
        groups: At most this many of those that agree in a column of the candidate table, or in
            all of several.
        apart_nm: Least distance of two picks of one image, in nanometres.
        voxel_size_nm: (z, y, x) for that, where the images do not say it.
        quotas: By predicted class: at most so many (an int), or a share of the budget (a float).
        regions: By number of the image: the path of a mask that picks must lie in.
        minutes: Time for all picks together.
        seconds: Time for one, or the column that has it for each.

    Raises:
        InvalidRequestError: If minutes are given without seconds, or seconds without minutes.

    Example:
        >>> limits = constraints(  # doctest: +SKIP
        ...     groups={"patient": 3, ("source", "slice"): 2}, quotas={0: 10, 1: 0.5}, minutes=30,
        ...     seconds=12,
        ... )
        >>> spec = round_spec(  # doctest: +SKIP
        ...     images=[image], base_model="mito", budget=40, constraints=limits
        ... )
    """
    message = Constraints(
        maximum_per_image=per_image,
        groups=[
            GroupLimit(columns=[columns] if isinstance(columns, str) else columns, maximum=most)
            for columns, most in (groups or {}).items()
        ],
        minimum_distance_nm=apart_nm,
        quotas=[_quota(own, most) for own, most in (quotas or {}).items()],
        regions=[RegionMask(source=image, mask=mask) for image, mask in (regions or {}).items()],
    )
    if voxel_size_nm is not None:
        z, y, x = voxel_size_nm
        message.voxel_size.CopyFrom(VoxelSize(z=z, y=y, x=x))
    if bool(minutes) != bool(seconds):
        raise InvalidRequestError(
            "a budget of time needs minutes and the seconds of one",
            reason="ERROR_REASON_MISSING_FIELD",
            metadata={"field": "constraints.time"},
        )
    if minutes:
        message.time.CopyFrom(_time(minutes, seconds))
    return message


def _quota(own: int, most: SupportsFloat) -> ClassQuota:
    if isinstance(most, int | np.integer):
        return ClassQuota(predicted_class=own, maximum=int(most))
    return ClassQuota(predicted_class=own, share=float(most))


def _time(minutes: float, seconds: float | str) -> TimeBudget:
    if isinstance(seconds, str):
        return TimeBudget(minutes=minutes, seconds_column=seconds)
    return TimeBudget(minutes=minutes, seconds_per_item=seconds)
