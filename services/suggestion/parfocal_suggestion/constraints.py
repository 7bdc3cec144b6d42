"""What may be chosen together: the limits that a caller sets on a selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

IMAGE = "source"
"""Column of the candidate table with the number of the image that a candidate is in."""


@dataclass(frozen=True)
class GroupLimit:
    """At most `maximum` (1 or more) of those that agree in all of `columns` of the table."""

    columns: tuple[str, ...]
    maximum: int


@dataclass(frozen=True)
class ClassQuota:
    """At most so many of one predicted class: `maximum`, or `share` of the budget, rounded up.

    Attributes:
        predicted_class: Column of the likeliest class; of two classes 1 is True, 0 is False.
        maximum: Number, or 0 where there is a share; both 0 is none of this class.
        share: Share of the budget, 0 to 1.
    """

    predicted_class: int
    maximum: int = 0
    share: float = 0.0


@dataclass(frozen=True)
class RegionMask:
    """Of image number `source`, only candidates whose centre lies where `mask` is not 0."""

    source: int
    mask: str

    @property
    def name(self) -> str:
        """Name of the mask in `Pool.inside`."""
        return f"{self.mask} of image {self.source}"


@dataclass(frozen=True)
class Constraints:
    """The limits of a selection. They count its own picks, not what was labelled before.

    Attributes:
        groups: Limits on what candidates have in common.
        minimum_distance_nm: Least distance of the centres of two picks in one image; 0 is none.
        voxel_size_nm: (z, y, x) for that; empty means what the images say.
        quotas: Limits on predicted classes.
        regions: Where picks may lie; images without a mask are free.
        minutes: Time that looking at all picks may take; 0 is none.
        seconds_per_item: Time for one, or 0 where a column has it.
        seconds_column: Column of the table with the time for each, or empty.
    """

    groups: tuple[GroupLimit, ...] = ()
    minimum_distance_nm: float = 0.0
    voxel_size_nm: tuple[float, ...] = ()
    quotas: tuple[ClassQuota, ...] = ()
    regions: tuple[RegionMask, ...] = ()
    minutes: float = 0.0
    seconds_per_item: float = 0.0
    seconds_column: str = ""

    def __bool__(self) -> bool:
        return self != UNCONSTRAINED

    @property
    def columns(self) -> list[str]:
        """Columns of the table that say what candidates have in common."""
        names = [name for limit in self.groups for name in limit.columns]
        if self.minimum_distance_nm:
            names.append(IMAGE)
        return list(dict.fromkeys(names))

    def to_json(self) -> dict[str, Any]:
        """Return them as they are stored; nothing where there are none."""
        return asdict(self) if self else {}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(
            **{
                **stored,
                "groups": tuple(
                    GroupLimit(tuple(each["columns"]), each["maximum"])
                    for each in stored.get("groups", ())
                ),
                "quotas": tuple(ClassQuota(**each) for each in stored.get("quotas", ())),
                "regions": tuple(RegionMask(**each) for each in stored.get("regions", ())),
                "voxel_size_nm": tuple(stored.get("voxel_size_nm", ())),
            }
        )


UNCONSTRAINED = Constraints()
"""No limits."""
