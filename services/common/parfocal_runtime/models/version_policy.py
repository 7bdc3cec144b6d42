"""Triton's `version_policy`: which versions of a model serve."""

from __future__ import annotations

from collections.abc import Sequence

from parfocal_runtime.triton.v1 import model_config_pb2 as pb


def served(complete: Sequence[int], policy: pb.ModelVersionPolicy) -> tuple[int, ...]:
    """Return the versions that may serve, oldest first.

    Where the policy says nothing all may, on request.

    Args:
        complete: Complete versions, oldest first.
        policy: The policy of the model's configuration.
    """
    choice = policy.WhichOneof("policy_choice")
    if choice == "latest":
        return tuple(complete[-max(1, policy.latest.num_versions) :])
    if choice == "specific":
        return tuple(version for version in complete if version in policy.specific.versions)
    return tuple(complete)


def kept(complete: Sequence[int], policy: pb.ModelVersionPolicy) -> tuple[int, ...]:
    """Return the versions that are loaded unasked and stay in memory, oldest first.

    They are all that serve by a policy, and the newest one without.
    """
    versions = served(complete, policy)
    return versions if policy.WhichOneof("policy_choice") else versions[-1:]
