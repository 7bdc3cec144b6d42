from __future__ import annotations

import pytest

from onnx_graphs import identity
from parfocal_inference.batching_policy import BatchingPolicy, QueuePolicy, policy_of
from parfocal_inference.schedule import Schedule
from parfocal_runtime.models.config_pbtxt import default_config, read_config
from parfocal_runtime.models.sessions import open_session


def policy(text: str, model: bytes | None = None) -> BatchingPolicy:
    return policy_of(read_config(text.encode()), open_session(model or identity()))


def test_every_setting_of_dynamic_batching_counts() -> None:
    found = policy("""
        max_batch_size: 16
        instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 }, { count: 9 passive: true } ]
        dynamic_batching {
          preferred_batch_size: [ 4, 8 ]
          max_queue_delay_microseconds: 100
          priority_levels: 3
          default_priority_level: 2
          default_queue_policy { default_timeout_microseconds: 50 allow_timeout_override: true }
          priority_queue_policy { key: 3 value: { timeout_action: DELAY max_queue_size: 7 } }
        }
    """)

    assert found == BatchingPolicy(
        max_rows=16,
        shares=True,
        instances=3,
        preferred=frozenset({4, 8}),
        delay_ns=100_000,
        levels=3,
        default_level=2,
        queue=QueuePolicy(timeout_ns=50_000, allows_override=True),
        queues={3: QueuePolicy(rejects=False, max_size=7)},
    )


def test_a_model_that_nobody_tuned_shares_runs_and_adds_no_delay() -> None:
    session = open_session(identity())
    config = default_config("m", session.inputs, session.outputs)

    found = policy_of(config, session)

    assert (found.shares, found.instances, found.delay_ns) == (True, 1, 0)
    assert found.max_rows == config.max_batch_size


@pytest.mark.parametrize("text", ["", "dynamic_batching {}"])
def test_without_a_batch_dimension_there_are_no_rows(text: str) -> None:
    found = policy(text)

    assert (found.max_rows, found.shares) == (None, False)


def test_a_graph_without_a_free_first_side_has_no_rows_whatever_the_configuration_says() -> None:
    found = policy("max_batch_size: 8 dynamic_batching {}", identity(shape=(4, 2)))

    assert (found.max_rows, found.shares) == (None, False)


def test_without_dynamic_batching_requests_are_cut_and_not_shared() -> None:
    found = policy("max_batch_size: 8")

    assert (found.max_rows, found.shares) == (8, False)


@pytest.mark.parametrize(("priority", "level"), [(0, 2), (1, 1), (3, 3), (4, 2), (-1, 2)])
def test_a_priority_that_there_is_not_is_the_default_one(priority: int, level: int) -> None:
    found = BatchingPolicy(levels=3, default_level=2)

    assert found.level_of(Schedule(priority)) == level


def test_without_priorities_all_requests_are_alike() -> None:
    assert BatchingPolicy().level_of(Schedule(priority=2)) == 0


def test_a_default_priority_that_there_is_not_is_the_lowest() -> None:
    found = policy("max_batch_size: 8 dynamic_batching { priority_levels: 4 }")

    assert found.default_level == 4
