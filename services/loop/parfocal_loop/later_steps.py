"""What a round will ask other services for at later steps, as far as the request shows its faults.

They check it again. Found there, a fault would cost the steps before: minutes of prediction, or all
the answers of a round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal.suggestion.v1 import constraints_pb2 as constraints_pb
from parfocal_loop.messages import box_from_pb, index_from_pb
from parfocal_loop.refusals import invalid, missing
from parfocal_runtime.layout import checked_name
from parfocal_runtime.store import ObjectStore

# What the other services accept.
_MOST_LIMITS = 100
_LARGEST_CLASS = 1 << 16
_LARGEST_OVERLAP = 0.9
_PATCH_SIDES = range(16, 513)
_VIEWS = (1, 4, 8, 16)

_CONSTRAINTS = "round.spec.constraints"
_PROPOSAL = "round.spec.proposal"
_TRAINING = "round.spec.training"


def check_model(field: str, model: artifacts.ModelVersion) -> None:
    """Return if a model, or its latest version, may be called so.

    Raises:
        InvalidInput: If it cannot.
    """
    checked_name(model.name, field=f"{field}.name")
    if model.version < 0:
        raise invalid(f"{field}.version", model.version, "must be 0, the latest, or more")


def check_proposal(proposal: rounds.ProposalSpec) -> None:
    """Return if candidates can be proposed so.

    Raises:
        InvalidInput: If they cannot.
    """
    threshold, side = proposal.threshold, proposal.patch_side
    if not (threshold == 0 or 0 < threshold < 1):
        raise invalid(f"{_PROPOSAL}.threshold", threshold, "must be above 0 and below 1")
    if proposal.minimum_voxels < 0:
        raise invalid(f"{_PROPOSAL}.minimum_voxels", proposal.minimum_voxels, "must be 1 or more")
    if side and side not in _PATCH_SIDES:
        must = f"must be {_PATCH_SIDES.start} to {_PATCH_SIDES.stop - 1}"
        raise invalid(f"{_PROPOSAL}.patch_side", side, must)
    if not 0 <= proposal.overlap < _LARGEST_OVERLAP:
        must = f"must be at least 0 and below {_LARGEST_OVERLAP}"
        raise invalid(f"{_PROPOSAL}.overlap", proposal.overlap, must)
    views = proposal.augmentation
    if views and views not in _VIEWS:
        must = f"must be one of {', '.join(map(str, _VIEWS))}"
        raise invalid(f"{_PROPOSAL}.augmentation", views, must)
    if proposal.HasField("block_shape") and min(index_from_pb(proposal.block_shape)) < 1:
        shape = index_from_pb(proposal.block_shape)
        raise invalid(f"{_PROPOSAL}.block_shape", shape, "must be positive")


def check_constraints(spec: rounds.RoundSpec, store: ObjectStore) -> None:
    """Return if picks can be limited as a round says.

    Raises:
        InvalidInput: If they cannot.
        PermissionDenied: If a mask lies outside the store.
    """
    limits = spec.constraints
    for name in ("groups", "quotas", "regions"):
        count = len(getattr(limits, name))
        if count > _MOST_LIMITS:
            raise invalid(f"{_CONSTRAINTS}.{name}", count, f"may be at most {_MOST_LIMITS}")
    if limits.maximum_per_image < 0:
        field = f"{_CONSTRAINTS}.maximum_per_image"
        raise invalid(field, limits.maximum_per_image, "must be 0 or more")
    for group in limits.groups:
        _check_group(group)
    _check_distance(limits)
    for quota in limits.quotas:
        _check_quota(quota)
    _check_each_once("quotas.predicted_class", [each.predicted_class for each in limits.quotas])
    # A set that is there may be of other images than those of the round.
    images = math.inf if spec.candidates else len(spec.images)
    for region in limits.regions:
        _check_region(region, store, images)
    _check_each_once("regions.source", [each.source for each in limits.regions])
    if limits.HasField("time"):
        _check_time(limits.time)


def check_training(training: rounds.RoundTraining, store: ObjectStore) -> None:
    """Return if models can be trained as a round says.

    Raises:
        InvalidInput: If they cannot.
        PermissionDenied: If an image lies outside the store.
    """
    for name in ("model", "encoder_model"):
        if getattr(training, name):
            checked_name(getattr(training, name), field=f"{_TRAINING}.{name}")
    limits = training.limits
    if limits.iterations < 0:
        field = f"{_TRAINING}.limits.iterations"
        raise invalid(field, limits.iterations, "must not be negative")
    if not 0 <= limits.seconds < math.inf:
        raise invalid(f"{_TRAINING}.limits.seconds", limits.seconds, "must not be negative")
    for index, region in enumerate(training.replay):
        for name in ("image", "truth"):
            if not getattr(region, name):
                raise missing(f"{_TRAINING}.replay[{index}].{name}")
            store.resolve(getattr(region, name))
        if not region.HasField("box"):
            raise missing(f"{_TRAINING}.replay[{index}].box")
        box_from_pb(region.box)


def _check_group(group: constraints_pb.GroupLimit) -> None:
    if not group.columns or not all(group.columns):
        raise missing(f"{_CONSTRAINTS}.groups.columns")
    if group.maximum < 1:
        raise invalid(f"{_CONSTRAINTS}.groups.maximum", group.maximum, "must be 1 or more")


def _check_distance(limits: constraints_pb.Constraints) -> None:
    distance, size = limits.minimum_distance_nm, limits.voxel_size
    if not 0 <= distance < math.inf:
        raise invalid(f"{_CONSTRAINTS}.minimum_distance_nm", distance, "must be 0 or more")
    if limits.HasField("voxel_size"):
        sides = (size.z, size.y, size.x)
        if not all(0 < side < math.inf for side in sides):
            raise invalid(f"{_CONSTRAINTS}.voxel_size", sides, "must be above 0")


def _check_quota(quota: constraints_pb.ClassQuota) -> None:
    field, limit = f"{_CONSTRAINTS}.quotas", quota.WhichOneof("limit")
    if not 0 <= quota.predicted_class <= _LARGEST_CLASS:
        must = f"must be 0 to {_LARGEST_CLASS}"
        raise invalid(f"{field}.predicted_class", quota.predicted_class, must)
    if limit is None:
        raise missing(field)
    if quota.maximum < 0:
        raise invalid(f"{field}.maximum", quota.maximum, "must be 0 or more")
    if not 0 <= quota.share <= 1:
        raise invalid(f"{field}.share", quota.share, "must be 0 to 1")


def _check_region(region: constraints_pb.RegionMask, store: ObjectStore, images: float) -> None:
    if not region.mask:
        raise missing(f"{_CONSTRAINTS}.regions.mask")
    store.resolve(region.mask)
    if not 0 <= region.source < images:
        must = "must be the number of an image of the round, from 0"
        raise invalid(f"{_CONSTRAINTS}.regions.source", region.source, must)


def _check_time(time: constraints_pb.TimeBudget) -> None:
    field, kind = f"{_CONSTRAINTS}.time", time.WhichOneof("seconds")
    if not 0 < time.minutes < math.inf:
        raise invalid(f"{field}.minutes", time.minutes, "must be above 0")
    if kind is None or (kind == "seconds_column" and not time.seconds_column):
        raise missing(f"{field}.seconds_per_item")
    if kind == "seconds_per_item" and not 0 < time.seconds_per_item < math.inf:
        raise invalid(f"{field}.seconds_per_item", time.seconds_per_item, "must be above 0")


def _check_each_once(name: str, values: Sequence[int]) -> None:
    if len(set(values)) < len(values):
        raise invalid(f"{_CONSTRAINTS}.{name}", values, "must be different")
