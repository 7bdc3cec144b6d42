from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from oip_requests import base_request
from onnx_graphs import base_model, base_model_card
from parfocal_inference.answers import Answers
from parfocal_inference.batching import BatchingExecutor
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving import Inference, Outcome
from parfocal_inference.serving_metrics import InferenceStatistics, ModelStatistics
from parfocal_runtime.errors import Exhausted, InvalidInput
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.loaded import LoadedModel, LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import LocalStore


class RecordingExecutor(BatchingExecutor):
    """Runs requests and remembers their schedules, or has no room for them."""

    def __init__(self, statistics: InferenceStatistics) -> None:
        super().__init__(statistics)
        self.schedules: list[Schedule] = []
        self.is_full = False

    async def run(
        self,
        model: LoadedModel,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        schedule: Schedule = DEFAULT,
    ) -> Outcome:
        self.schedules.append(schedule)
        if self.is_full:
            raise Exhausted("ERROR_REASON_RATE_LIMITED", "too many requests wait")
        return await super().run(model, inputs, outputs, schedule)


@pytest.fixture
def statistics() -> InferenceStatistics:
    return InferenceStatistics(lambda: [])


@pytest.fixture
def executor(statistics: InferenceStatistics) -> Iterator[RecordingExecutor]:
    executor = RecordingExecutor(statistics)
    yield executor
    executor.close()


@pytest.fixture
def answers(
    tmp_path: Path, executor: RecordingExecutor, statistics: InferenceStatistics
) -> Answers:
    repository = ModelRepository(LocalStore(tmp_path))
    repository.publish("base", base_model(), card=base_model_card(), lineage={})
    return Answers(LoadedModels(repository), Inference(executor, statistics))


def counted(statistics: InferenceStatistics) -> ModelStatistics:
    return statistics.snapshots()["base", 1]


def test_the_schedule_of_a_request_reaches_what_runs_it(
    answers: Answers, executor: RecordingExecutor
) -> None:
    urgent = base_request()
    urgent.parameters["priority"].int64_param = 1
    urgent.parameters["timeout"].int64_param = 2500

    asyncio.run(answers.answer(base_request()))
    asyncio.run(answers.answer(urgent))

    assert executor.schedules == [DEFAULT, Schedule(priority=1, timeout_us=2500)]


def test_what_does_not_fit_is_counted_and_does_not_run(
    answers: Answers, executor: RecordingExecutor, statistics: InferenceStatistics
) -> None:
    wrong = base_request()
    wrong.parameters["priority"].string_param = "high"

    with pytest.raises(InvalidInput):
        asyncio.run(answers.answer(wrong))

    assert executor.schedules == []
    assert counted(statistics).failures["OTHER"] == 1
    assert counted(statistics).failed_ns > 0


def test_a_request_that_finds_no_room_is_told_so_in_its_stream_and_counted(
    answers: Answers, executor: RecordingExecutor, statistics: InferenceStatistics
) -> None:
    executor.is_full = True

    answer = asyncio.run(answers.answer_in_stream(base_request(id="third")))

    assert answer.error_message == "too many requests wait (ERROR_REASON_RATE_LIMITED)"
    assert answer.infer_response.id == "third"
    assert counted(statistics).failures["REJECTED"] == 1


def test_an_answer_in_a_stream_is_that_of_a_single_request(
    answers: Answers, statistics: InferenceStatistics
) -> None:
    single = asyncio.run(answers.answer(base_request(id="same")))
    streamed = asyncio.run(answers.answer_in_stream(base_request(id="same")))

    assert streamed.error_message == ""
    assert streamed.infer_response == single
    assert counted(statistics).successes == 2
