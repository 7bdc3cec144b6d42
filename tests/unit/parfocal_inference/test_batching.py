from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, identity, longest_of_a_run
from parfocal_inference.batching import BatchingExecutor
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving import Inference, Outcome
from parfocal_inference.serving_metrics import InferenceStatistics
from parfocal_runtime.errors import Exhausted, InvalidInput, TimedOut
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel
from parfocal_runtime.models.publish import card_of
from parfocal_runtime.models.sessions import ModelSession, open_session

SECONDS = 20.0
BATCHED = "max_batch_size: 8 dynamic_batching {}"
FULL = "max_batch_size: 8 dynamic_batching { default_queue_policy { max_queue_size: 2 } }"


class Gated(ModelSession):
    """A session whose runs wait at a gate: only so do requests meet in the queue for certain."""

    def __init__(self, session: ModelSession) -> None:
        self._inner = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.rows: list[int] = []
        self.gate = threading.Semaphore(0)
        self.running = threading.Semaphore(0)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        self.rows.append(next(iter(inputs.values())).shape[0])
        self.running.release()
        assert self.gate.acquire(timeout=SECONDS)
        return self._inner.run(inputs, outputs)

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.running.acquire, timeout=SECONDS)

    def open(self) -> None:
        self.gate.release(1000)


def loaded(
    config: str = BATCHED, *, model: bytes | None = None, name: str = "m", gated: bool = True
) -> LoadedModel:
    session = open_session(model or identity())
    card = card_of(session, description="A model.")
    runs = Gated(session) if gated else session
    return LoadedModel(name, 1, card, runs, {}, read_config(config.encode()))


def gate_of(model: LoadedModel) -> Gated:
    assert isinstance(model.session, Gated)
    return model.session


def x(value: float, rows: int = 1) -> dict[str, Array]:
    return {"x": np.full((rows, 2), value, np.float32)}


@asynccontextmanager
async def batching() -> AsyncIterator[tuple[BatchingExecutor, InferenceStatistics]]:
    statistics = InferenceStatistics(lambda: [])
    executor = BatchingExecutor(statistics)
    yield executor, statistics
    executor.close()


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**arguments: object) -> None:
        async def all_of_it() -> None:
            async with asyncio.timeout(SECONDS):
                await test(**arguments)

        asyncio.run(all_of_it())

    return run


async def queued(
    executor: BatchingExecutor,
    model: LoadedModel,
    requests: Sequence[dict[str, Array]],
    schedule: Schedule = DEFAULT,
) -> list[asyncio.Task[Outcome]]:
    """Let one request begin to run, and put the others in line."""
    first = asyncio.ensure_future(executor.run(model, x(0), ["y"]))
    await gate_of(model).has_begun()
    others = [
        asyncio.ensure_future(executor.run(model, each, ["y"], schedule)) for each in requests
    ]
    await asyncio.sleep(0)
    return [first, *others]


@in_a_loop
async def test_on_a_gpu_runs_are_filled_up_to_few_sizes() -> None:
    async with batching() as (executor, statistics):
        model = loaded()
        gate_of(model).on_gpu = True
        tasks = await queued(executor, model, [x(n, rows=n) for n in (1, 2)])
        gate_of(model).open()
        found = [(await task).outputs["y"][:, 0].tolist() for task in tasks]

        assert gate_of(model).rows == [1, 4]
        assert found == [[0], [1], [2] * 2]
        assert sorted(statistics.of("m", 1).by_rows) == [1, 3]


@in_a_loop
async def test_a_model_that_loses_rows_is_filled_up_no_more() -> None:
    finding = graph(
        [helper.make_node("NonZero", ["x"], ["found"]),
         helper.make_node("Transpose", ["found"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ("n", 2))],
        outputs=[("y", TensorProto.INT64, ("m", 2))],
    )  # fmt: skip
    async with batching() as (executor, _):
        model = loaded(model=finding)
        gate_of(model).on_gpu = True
        gate_of(model).open()
        found = await executor.run(model, x(2, rows=3), ["y"])

        assert gate_of(model).rows == [4, 3]
        assert found.outputs["y"].shape == (6, 2)


@in_a_loop
async def test_a_lone_request_runs_at_once_and_what_comes_meanwhile_runs_together() -> None:
    async with batching() as (executor, statistics):
        model = loaded()
        tasks = await queued(executor, model, [x(n, rows=n) for n in (1, 2, 4)])
        gate_of(model).open()
        found = [(await task).outputs["y"][:, 0].tolist() for task in tasks]

        assert gate_of(model).rows == [1, 7]
        assert found == [[0], [1], [2] * 2, [4] * 4]
        assert statistics.of("m", 1).runs == 2
        assert sorted(statistics.of("m", 1).by_rows) == [1, 7]


@in_a_loop
async def test_a_request_of_many_rows_is_answered_whole_and_in_order() -> None:
    async with batching() as (executor, _):
        model = loaded(f"{BATCHED} instance_group {{ count: 2 }}", gated=False)
        rows = np.arange(200, dtype=np.float32).reshape(100, 2)

        outcome = await executor.run(model, {"x": rows}, ["y"])

        np.testing.assert_array_equal(outcome.outputs["y"], rows)


@in_a_loop
async def test_parts_that_cannot_be_put_together_are_refused_and_others_answered() -> None:
    async with batching() as (executor, _):
        model = loaded(model=longest_of_a_run(), gated=False)

        def rows(*lengths: int) -> dict[str, Array]:
            return {"x": np.ones((len(lengths), 8), np.float32), "length": np.array(lengths)}

        with pytest.raises(InvalidInput, match="8 rows at a time are one run"):
            await executor.run(model, rows(*[3] * 8, 5), ["y"])
        outcome = await executor.run(model, rows(2, 4), ["y"])

        assert outcome.outputs["y"].shape == (2, 4)


class Unforeseen(ModelSession):
    """A session whose outputs are nothing that was ever foreseen, once."""

    def __init__(self) -> None:
        inner = open_session(identity())
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self._answers: list[Any] = [None]

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        return self._answers.pop() if self._answers else {"y": inputs["x"]}


@in_a_loop
async def test_whatever_a_run_meets_the_next_one_is_made() -> None:
    async with batching() as (executor, _):
        model = replace(loaded(gated=False), session=Unforeseen())

        with pytest.raises(TypeError):
            await executor.run(model, x(1), ["y"])
        outcome = await executor.run(model, x(2), ["y"])

        assert outcome.outputs["y"].tolist() == [[2, 2]]


@in_a_loop
async def test_one_bad_request_fails_alone() -> None:
    shape = ("n", 1)
    model = loaded(
        model=graph(
            [helper.make_node("Gather", ["table", "x"], ["y"])],
            inputs=[("x", TensorProto.INT64, shape)],
            outputs=[("y", TensorProto.INT64, (*shape,))],
            constants=[helper.make_tensor("table", TensorProto.INT64, [3], [5, 6, 7])],
        )
    )
    async with batching() as (executor, statistics):
        picks = [{"x": np.array([[pick]])} for pick in (0, 1, 99, 2)]
        tasks = await queued(executor, model, picks)
        gate_of(model).open()
        # The one that goes ahead holds floats, which do not fit.
        _, *found = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(found[2], InvalidInput)
        good = [each.outputs["y"].item() for each in found if isinstance(each, Outcome)]
        assert good == [5, 6, 7]
        # Runs that fail are not counted, as with Triton.
        assert statistics.of("m", 1).runs == 3


@pytest.mark.parametrize(
    ("config", "expected"),
    [("max_batch_size: 8", [-2, 0, 2]), (BATCHED, [0, 0, 0])],
    ids=["rows depend on each other", "the configuration says that they do not"],
)
@in_a_loop
async def test_a_request_is_cut_only_where_rows_do_not_depend_on_each_other(
    config: str, expected: list[float]
) -> None:
    centred = graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"]),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        inputs=[("x", TensorProto.FLOAT, ("n", 1))],
        outputs=[("y", TensorProto.FLOAT, ("n", 1))],
        constants=[helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
    )
    model = loaded(config, model=centred, gated=False)
    model.session.rows_at_once = 1
    async with batching() as (executor, statistics):
        rows = np.array([[1], [3], [5]], np.float32)

        found = await executor.run(model, {"x": rows}, ["y"])

        assert found.outputs["y"].ravel().tolist() == expected
        assert statistics.of("m", 1).runs == 1


@in_a_loop
async def test_rows_of_who_went_away_do_not_run() -> None:
    async with batching() as (executor, statistics):
        model = loaded()
        tasks = await queued(executor, model, [x(1), x(2, rows=3), x(3)])
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert statistics.of("m", 1).queued == 2
        gate_of(model).open()
        found = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(found[2], asyncio.CancelledError)
        assert gate_of(model).rows == [1, 2]


@in_a_loop
async def test_a_full_queue_refuses_and_says_when_to_try_again() -> None:
    async with batching() as (executor, statistics):
        model = loaded(FULL)
        tasks = await queued(executor, model, [x(1), x(2)])

        with pytest.raises(Exhausted) as caught:
            await executor.run(model, x(3), ["y"])
        gate_of(model).open()
        await asyncio.gather(*tasks)

        assert caught.value.reason == "ERROR_REASON_QUEUE_FULL"
        assert caught.value.metadata == {"model": "m", "version": "1", "limit": "2"}
        assert caught.value.retry_seconds is not None
        assert 0 < caught.value.retry_seconds < 10
        assert statistics.of("m", 1).queued == 0


@in_a_loop
async def test_a_request_that_waited_too_long_fails_while_the_model_is_busy() -> None:
    config = (
        "max_batch_size: 8 "
        "dynamic_batching { default_queue_policy { allow_timeout_override: true } }"
    )
    async with batching() as (executor, _):
        model = loaded(config)
        tasks = await queued(executor, model, [x(1)], Schedule(timeout_us=1000))

        with pytest.raises(TimedOut) as caught:
            await tasks[1]
        gate_of(model).open()
        await tasks[0]

        assert caught.value.reason == "ERROR_REASON_QUEUE_TIMEOUT"
        assert gate_of(model).rows == [1]


@in_a_loop
async def test_a_model_has_as_many_runs_at_once_as_instances() -> None:
    async with batching() as (executor, _):
        model = loaded("max_batch_size: 0 instance_group { count: 3 }")
        tasks = [asyncio.ensure_future(executor.run(model, x(n), ["y"])) for n in range(5)]
        for _ in range(3):
            await gate_of(model).has_begun()
        await asyncio.sleep(0.02)
        assert len(gate_of(model).rows) == 3

        gate_of(model).open()
        found = [(await task).outputs["y"][0, 0] for task in tasks]

        assert found == [0, 1, 2, 3, 4]
        assert gate_of(model).rows == [1] * 5


@in_a_loop
async def test_versions_do_not_wait_for_each_other() -> None:
    async with batching() as (executor, _):
        slow, quick = loaded(name="slow"), loaded(name="quick", gated=False)
        tasks = await queued(executor, slow, [])

        assert (await executor.run(quick, x(7), ["y"])).outputs["y"][0, 0] == 7
        gate_of(slow).open()
        await tasks[0]


@in_a_loop
async def test_a_model_that_gives_other_rows_shares_no_runs() -> None:
    twice = graph(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
        inputs=[("x", TensorProto.FLOAT, ("n", 2))],
        outputs=[("y", TensorProto.FLOAT, ("m", 2))],
    )
    async with batching() as (executor, _):
        model = loaded(model=twice)
        gate_of(model).open()
        for _ in range(2):
            asked = [executor.run(model, x(n, rows=2), ["y"]) for n in range(6)]
            found = [each.outputs["y"].tolist() for each in await asyncio.gather(*asked)]
            assert found == [[[n, n]] * 4 for n in range(6)]

        with pytest.raises(InvalidInput, match="takes 8 at most"):
            await executor.run(model, x(1, rows=20), ["y"])


@in_a_loop
async def test_inputs_of_different_numbers_of_rows_are_refused() -> None:
    shape = ("n", 2)
    model = loaded(
        gated=False,
        model=graph(
            [helper.make_node("Add", ["a", "b"], ["y"])],
            inputs=[("a", TensorProto.FLOAT, shape), ("b", TensorProto.FLOAT, shape)],
            outputs=[("y", TensorProto.FLOAT, shape)],
        ),
    )
    async with batching() as (executor, _):
        with pytest.raises(InvalidInput):
            await executor.run(model, {"a": x(1)["x"], "b": x(1, rows=3)["x"]}, ["y"])


@in_a_loop
async def test_what_left_memory_leaves_no_queue_and_no_thread_behind() -> None:
    async with batching() as (executor, _):
        model = loaded(name="leaving", gated=False)
        await executor.run(model, x(1), ["y"])
        assert len(executor) == 1
        del model
        gc.collect()

        assert len(executor) == 0
        deadline = time.monotonic() + SECONDS
        while any("leaving" in thread.name for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


@in_a_loop
async def test_requests_are_counted_one_by_one_and_shared_runs_once() -> None:
    async with batching() as (executor, statistics):
        model = loaded()
        inference = Inference(executor, statistics)
        counted = statistics.of("m", 1)
        gate_of(model).gate.release()

        async def ask(number: int) -> int:
            now = time.monotonic_ns()
            return await inference.run(model, x(number), ["y"], started_ns=now, pack=len)

        await ask(0)
        await gate_of(model).has_begun()
        first = asyncio.ensure_future(ask(0))
        await gate_of(model).has_begun()
        others = [ask(number) for number in range(3)]
        waiting = asyncio.gather(*others)
        await asyncio.sleep(0.01)
        assert (counted.waiting, counted.queued) == (4, 3)
        gate_of(model).open()
        await asyncio.gather(first, waiting)

        assert (counted.successes, counted.rows, counted.runs) == (5, 5, 3)
        assert (counted.waiting, counted.queued) == (0, 0)
        assert counted.queue_ns > 3 * 5_000_000
        assert counted.compute_infer_ns > 0
        assert counted.compute_output_ns > 0
