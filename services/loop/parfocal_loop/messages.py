"""Messages from values and back, without asking whether they make sense."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from parfocal.common.v1 import artifact_pb2 as artifacts
from parfocal.common.v1 import geometry_pb2 as geometry
from parfocal.loop.v1 import job_pb2 as jobs
from parfocal.loop.v1 import round_pb2 as rounds
from parfocal_loop.estimate import Estimate
from parfocal_loop.intervals import Interval
from parfocal_loop.lift import Discovery, Lift
from parfocal_loop.progress import Progress
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import DomainError

FINAL_STATES = frozenset(
    {
        artifacts.WORK_STATE_SUCCEEDED,
        artifacts.WORK_STATE_FAILED,
        artifacts.WORK_STATE_CANCELLED,
    }
)


def box_to_pb(box: Box) -> geometry.Box:
    """Return the message of a box."""
    return geometry.Box(start=_index_to_pb(box.start), stop=_index_to_pb(box.stop))


def box_from_pb(box: geometry.Box) -> Box:
    """Return the box of a message.

    Raises:
        InvalidInput: If a side is not positive (`ERROR_REASON_INVALID_BOX`).
    """
    return Box(index_from_pb(box.start), index_from_pb(box.stop))


def index_from_pb(index: geometry.Index3) -> Triple:
    """Return (z, y, x) of a message."""
    return (index.z, index.y, index.x)


def _index_to_pb(index: Triple) -> geometry.Index3:
    z, y, x = index
    return geometry.Index3(z=z, y=y, x=x)


def time_to_pb(seconds: float) -> Timestamp:
    """Return the message of a time in seconds since 1970."""
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp


def note(status: rounds.StepStatus | jobs.JobStatus, progress: Progress) -> None:
    """Write into a status how far its work is."""
    status.fraction = progress.fraction
    status.message = progress.message
    status.ClearField("remaining_seconds")
    if progress.remaining_seconds is not None:
        status.remaining_seconds = progress.remaining_seconds


def failure_to_pb(error: DomainError) -> artifacts.Failure:
    """Return the message of a domain error."""
    return artifacts.Failure(reason=error.reason, message=error.message, metadata=error.metadata)


def estimate_to_pb(estimate: Estimate) -> rounds.AccuracyEstimate:
    """Return the message of an accuracy estimate."""
    return rounds.AccuracyEstimate(
        labels=estimate.labels,
        right=estimate.right,
        accuracy=estimate.accuracy,
        lower=estimate.lower,
        upper=estimate.upper,
        level=estimate.level,
        effective_labels=estimate.effective_labels,
        method=estimate.method,
        undefined_reason=estimate.undefined_reason,
    )


def interval_to_pb(interval: Interval) -> rounds.IntervalEstimate:
    """Return the message of a value with its interval."""
    return rounds.IntervalEstimate(
        value=interval.value,
        lower=interval.lower,
        upper=interval.upper,
        method=interval.method,
        undefined_reason=interval.undefined_reason,
    )


def lift_to_pb(lift: Lift) -> rounds.Lift:
    """Return the message of a lift."""
    return rounds.Lift(
        strategy=_discovery_to_pb(lift.strategy),
        random=_discovery_to_pb(lift.random),
        difference=interval_to_pb(lift.difference),
        ratio=interval_to_pb(lift.ratio),
        level=lift.level,
    )


def _discovery_to_pb(found: Discovery) -> rounds.ErrorDiscovery:
    return rounds.ErrorDiscovery(
        labels=found.share.labels,
        wrong=found.share.hits,
        unsure=found.unsure,
        rate=interval_to_pb(found.rate),
    )
