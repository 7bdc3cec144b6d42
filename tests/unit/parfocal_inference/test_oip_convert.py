from __future__ import annotations

import pytest

from parfocal_inference.joint_runs import StageTimes
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip_convert import (
    index_to_pb,
    model_to_load,
    model_to_unload,
    schedule_from_pb,
    statistics_to_pb,
    version_from_pb,
)
from parfocal_inference.schedule import DEFAULT, Schedule
from parfocal_inference.serving_metrics import ModelStatistics, RunTimes
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.index import IndexEntry, ModelState

LARGEST = 2**63 - 1


def parameters(**given: pb.InferParameter) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(parameters=given)


@pytest.mark.parametrize(
    ("text", "version"), [("", None), ("1", 1), ("007", 7), ("9" * 18, 10**18 - 1)]
)
def test_a_version_is_a_decimal_number_and_without_one_the_newest(
    text: str, version: int | None
) -> None:
    assert version_from_pb(text, field="version") == version


@pytest.mark.parametrize("text", ["one", "-1", "1.0", " 1", "٣", "9" * 19])
def test_what_is_no_decimal_number_is_no_version(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        version_from_pb(text, field="model_version")

    assert caught.value.metadata["field"] == "model_version"


def test_a_request_without_parameters_has_the_default_schedule() -> None:
    assert schedule_from_pb(pb.ModelInferRequest()) == DEFAULT == Schedule(0, 0)


@pytest.mark.parametrize(
    ("request_", "schedule"),
    [
        (parameters(priority=pb.InferParameter(int64_param=2)), Schedule(priority=2)),
        (parameters(priority=pb.InferParameter(uint64_param=2**64 - 1)), Schedule(2**64 - 1)),
        (parameters(timeout=pb.InferParameter(int64_param=LARGEST)), Schedule(timeout_us=LARGEST)),
        (parameters(timeout=pb.InferParameter(uint64_param=5)), Schedule(timeout_us=5)),
        (parameters(priority=pb.InferParameter(int64_param=0)), DEFAULT),
        (parameters(sequence_start=pb.InferParameter(bool_param=True)), DEFAULT),
        (parameters(Priority=pb.InferParameter(string_param="high")), DEFAULT),
    ],
)
def test_priority_and_timeout_are_whole_numbers_and_other_names_are_passed_over(
    request_: pb.ModelInferRequest, schedule: Schedule
) -> None:
    assert schedule_from_pb(request_) == schedule


@pytest.mark.parametrize(
    "parameter",
    [
        pb.InferParameter(),
        pb.InferParameter(bool_param=True),
        pb.InferParameter(string_param="1"),
        pb.InferParameter(double_param=1.0),
        pb.InferParameter(int64_param=-1),
    ],
)
@pytest.mark.parametrize("name", ["priority", "timeout"])
def test_a_schedule_of_anything_else_is_refused_by_its_name(
    name: str, parameter: pb.InferParameter
) -> None:
    with pytest.raises(InvalidInput, match=name) as caught:
        schedule_from_pb(parameters(**{name: parameter}))

    assert caught.value.reason == "ERROR_REASON_INVALID_FIELD"
    assert caught.value.metadata["field"] == f"parameters[{name}]"


@pytest.mark.parametrize(
    ("repository", "model", "name"),
    [("", "base", "base"), ("here", "base", "base"), ("base", "", "base")],
)
def test_the_name_of_a_model_is_where_triton_or_kserve_has_it(
    repository: str, model: str, name: str
) -> None:
    load = pb.RepositoryModelLoadRequest(repository_name=repository, model_name=model)
    unload = pb.RepositoryModelUnloadRequest(repository_name=repository, model_name=model)

    assert model_to_load(load) == name
    assert model_to_unload(unload) == name


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_a_model_is_not_loaded_from_the_request(name: str) -> None:
    message = pb.RepositoryModelLoadRequest(model_name="base")
    message.parameters["note"].string_param = "passed over"
    assert model_to_load(message) == "base"

    message.parameters[name].bytes_param = b""
    with pytest.raises(InvalidInput) as caught:
        model_to_load(message)

    assert caught.value.metadata["field"] == f"parameters[{name}]"


def test_an_index_is_packed_in_its_order() -> None:
    packed = index_to_pb(
        [
            IndexEntry("a", 1, ModelState.UNAVAILABLE, "it was unloaded"),
            IndexEntry("a", 2, ModelState.READY),
        ]
    )

    assert [(each.name, each.version, each.state, each.reason) for each in packed.models] == [
        ("a", "1", "UNAVAILABLE", "it was unloaded"),
        ("a", "2", "READY", ""),
    ]


def test_statistics_are_packed_under_tritons_names() -> None:
    counted = ModelStatistics()
    times = RunTimes(
        request_ns=100, queue_ns=10, compute_input_ns=20, compute_infer_ns=30, compute_output_ns=40
    )
    for rows in (4, 2):
        counted.succeeded(rows=rows, times=times)
        counted.ran(rows, StageTimes(input_ns=20, infer_ns=30, output_ns=40))
    counted.failed("OTHER", request_ns=7)
    counted.failed("BACKEND", request_ns=8)

    packed = statistics_to_pb("base", 3, counted)

    assert (packed.name, packed.version) == ("base", "3")
    assert (packed.inference_count, packed.execution_count) == (6, 2)
    assert packed.last_inference == counted.last_ended_ms > 0
    stats = packed.inference_stats
    assert {name.name: (part.count, part.ns) for name, part in stats.ListFields()} == {
        "success": (2, 200),
        "fail": (2, 15),
        "queue": (2, 20),
        "compute_input": (2, 40),
        "compute_infer": (2, 60),
        "compute_output": (2, 80),
    }
    assert [
        (size.batch_size, size.compute_input.ns, size.compute_infer.ns, size.compute_output.ns)
        for size in packed.batch_stats
    ] == [(2, 20, 30, 40), (4, 20, 30, 40)]
