"""How the requests of a model are put into runs, as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parfocal_inference.schedule import Schedule
from parfocal_runtime.models.buckets import has_rows, row_buckets
from parfocal_runtime.models.sessions import ModelSession
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

_US = 1000


@dataclass(frozen=True)
class QueuePolicy:
    """What becomes of the requests that wait at one priority.

    Attributes:
        rejects: Whether a request that waited too long fails; otherwise it goes behind those of
            its priority that did not.
        timeout_ns: How long is too long, in nanoseconds; 0 is never.
        allows_override: Whether a request may set a shorter time.
        max_size: How many requests may wait; 0 is any number.
    """

    rejects: bool = True
    timeout_ns: int = 0
    allows_override: bool = False
    max_size: int = 0

    def timeout_of(self, schedule: Schedule) -> int:
        """Return how long a request may wait, in nanoseconds; 0 is for ever."""
        wanted = schedule.timeout_us * _US if self.allows_override else 0
        return min((time for time in (wanted, self.timeout_ns) if time > 0), default=0)


@dataclass(frozen=True)
class BatchingPolicy:
    """How requests become runs.

    Attributes:
        max_rows: Most rows of a run; None where the model has no batch dimension, so that a run
            is a request.
        shares: Whether requests may share a run.
        instances: Runs at once.
        preferred: Rows at which a run does not wait for more.
        delay_ns: How long a request may wait for others, in nanoseconds.
        levels: How many priorities there are; 1 is the highest, 0 is none.
        default_level: Priority of a request that names none, or none that there is.
        queue: What becomes of requests that wait.
        queues: The same for single priorities.
        buckets: Numbers of rows, ascending, to the next of which a run is filled up; none where
            it runs as it is.
    """

    max_rows: int | None = None
    shares: bool = False
    instances: int = 1
    preferred: frozenset[int] = frozenset()
    delay_ns: int = 0
    levels: int = 0
    default_level: int = 0
    queue: QueuePolicy = QueuePolicy()
    queues: Mapping[int, QueuePolicy] = field(default_factory=dict)
    buckets: tuple[int, ...] = ()

    def level_of(self, schedule: Schedule) -> int:
        """Return the priority that a request has."""
        if not self.levels:
            return 0
        known = 1 <= schedule.priority <= self.levels
        return schedule.priority if known else self.default_level

    def queue_of(self, level: int) -> QueuePolicy:
        """Return what becomes of requests that wait at a priority."""
        return self.queues.get(level, self.queue)


def policy_of(config: config_pb.ModelConfig, session: ModelSession) -> BatchingPolicy:
    """Return how the requests of a model become runs, by its configuration."""
    batching = config.dynamic_batching
    rows = has_rows(config, session.inputs, session.outputs)
    levels = batching.priority_levels
    default = batching.default_priority_level
    return BatchingPolicy(
        max_rows=config.max_batch_size if rows else None,
        shares=rows and config.HasField("dynamic_batching"),
        instances=_instances(config.instance_group),
        preferred=frozenset(size for size in batching.preferred_batch_size if size > 0),
        delay_ns=batching.max_queue_delay_microseconds * _US,
        levels=levels,
        default_level=default if 1 <= default <= levels else levels,
        queue=_queue(batching.default_queue_policy),
        queues={level: _queue(policy) for level, policy in batching.priority_queue_policy.items()},
        buckets=row_buckets(config, session),
    )


def _instances(groups: Sequence[config_pb.ModelInstanceGroup]) -> int:
    active = [group for group in groups if not group.passive]
    return sum(max(1, group.count) * max(1, len(group.gpus)) for group in active) or 1


def _queue(policy: config_pb.ModelQueuePolicy) -> QueuePolicy:
    return QueuePolicy(
        rejects=policy.timeout_action == config_pb.ModelQueuePolicy.REJECT,
        timeout_ns=policy.default_timeout_microseconds * _US,
        allows_override=policy.allow_timeout_override,
        max_size=policy.max_queue_size,
    )
