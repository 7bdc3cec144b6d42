"""What the server tells of its models: how they are served, and what was counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from oip_requests import SECONDS, failure, request
from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.oip.v2 import inference_pb2_grpc as oip_grpc
from parfocal_runtime.channels import sync_channel
from parfocal_runtime.errors import DomainError, InvalidInput, NotFound, WrongState
from parfocal_runtime.triton.v1 import model_config_pb2 as config_pb

if TYPE_CHECKING:
    from tests.integration.oip.conftest import Oip


def config(oip: Oip, name: str, version: str = "") -> config_pb.ModelConfig:
    asked = pb.ModelConfigRequest(name=name, version=version)
    return oip.stub.ModelConfig(asked, timeout=SECONDS).config


def statistics(oip: Oip, name: str = "", version: str = "") -> list[pb.ModelStatistics]:
    asked = pb.ModelStatisticsRequest(name=name, version=version)
    return list(oip.stub.ModelStatistics(asked, timeout=SECONDS).model_stats)


def arithmetic(rows: int) -> pb.ModelInferRequest:
    ones = np.ones((rows, 2), np.float32)
    return request("arithmetic", {"a": ("FP32", ones), "b": ("FP32", ones)})


def test_the_configuration_of_a_model_is_that_of_the_repository(oip: Oip) -> None:
    found = config(oip, "base")

    assert (found.name, found.platform, found.max_batch_size) == ("base", "onnxruntime_onnx", 64)
    assert found.HasField("dynamic_batching")
    (image,), (probability,) = found.input, found.output
    assert (image.name, image.data_type, list(image.dims)) == (
        "image",
        config_pb.TYPE_UINT8,
        [1, 4, 8, 8],
    )
    assert (probability.name, probability.data_type) == ("probability", config_pb.TYPE_FP32)


def test_facts_of_the_card_are_among_the_parameters(oip: Oip) -> None:
    facts = config(oip, "base").parameters

    assert facts["kind"].string_value == "base"
    assert facts["voxel_size_nm"].string_value == "50,4.6,4.6"
    assert facts["halo"].string_value == "0,2,2"
    assert "stream" not in facts


def test_a_configuration_that_was_tuned_counts_after_the_model_is_loaded_again(oip: Oip) -> None:
    oip.publish("tuned")
    before = config(oip, "tuned")
    path = "models/tuned/config.pbtxt"
    oip.store.write(path, oip.store.read(path).replace(b"batch_size: 64", b"batch_size: 16"))

    oip.admin.RepositoryModelLoad(
        pb.RepositoryModelLoadRequest(model_name="tuned"), timeout=SECONDS
    )

    assert (before.max_batch_size, config(oip, "tuned").max_batch_size) == (64, 16)


@pytest.mark.parametrize(
    ("name", "version", "kind", "reason"),
    [
        ("none", "", NotFound, "ERROR_REASON_MODEL_NOT_FOUND"),
        ("base", "9", NotFound, "ERROR_REASON_MODEL_NOT_FOUND"),
        ("base", "new", InvalidInput, "ERROR_REASON_INVALID_FIELD"),
        ("broken", "", WrongState, "ERROR_REASON_MODEL_SELF_TEST_FAILED"),
    ],
)
def test_a_model_that_is_not_ready_has_no_configuration(
    oip: Oip, name: str, version: str, kind: type[DomainError], reason: str
) -> None:
    error = failure(oip.stub.ModelConfig, pb.ModelConfigRequest(name=name, version=version))

    assert type(error) is kind
    assert error.reason == reason


def test_requests_are_counted_with_their_time(oip: Oip) -> None:
    (before,) = statistics(oip, "arithmetic")
    for rows in (1, 3, 3):
        oip.stub.ModelInfer(arithmetic(rows), timeout=SECONDS)
    failure(oip.stub.ModelInfer, pb.ModelInferRequest(model_name="arithmetic"))

    (after,) = statistics(oip, "arithmetic", "1")

    assert (after.name, after.version) == ("arithmetic", "1")
    assert after.inference_count - before.inference_count == 7
    assert after.execution_count - before.execution_count == 3
    assert abs(after.last_inference / 1000 - time.time()) < 60
    found, earlier = after.inference_stats, before.inference_stats
    assert found.success.count - earlier.success.count == 3
    assert found.fail.count - earlier.fail.count == 1
    assert found.fail.ns > earlier.fail.ns
    parts = (found.queue, found.compute_input, found.compute_infer, found.compute_output)
    assert {part.count for part in parts} == {found.success.count}
    assert all(part.ns > 0 for part in parts)
    assert sum(part.ns for part in parts) <= found.success.ns


def test_runs_are_counted_by_their_size(oip: Oip) -> None:
    for rows in (5, 6, 5):
        oip.stub.ModelInfer(arithmetic(rows), timeout=SECONDS)

    (found,) = statistics(oip, "arithmetic")

    counts = {size.batch_size: size.compute_infer.count for size in found.batch_stats}
    assert (counts[5], counts[6]) == (2, 1)
    assert list(counts) == sorted(counts)
    assert sum(counts.values()) == found.execution_count
    assert sum(size.compute_infer.ns for size in found.batch_stats) == (
        found.inference_stats.compute_infer.ns
    )


def test_statistics_without_a_name_are_of_all_models_from_the_start(oip: Oip) -> None:
    found = statistics(oip)

    keys = [(each.name, each.version) for each in found]
    assert keys == sorted(keys)
    assert {("base", "1"), ("id-bytes", "1")} <= set(keys)
    assert next(each for each in found if each.name == "id-bytes").last_inference == 0


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("none", "", "ERROR_REASON_MODEL_NOT_FOUND"),
        ("base", "9", "ERROR_REASON_MODEL_NOT_FOUND"),
        ("base", "-1", "ERROR_REASON_INVALID_FIELD"),
        ("", "one", "ERROR_REASON_INVALID_FIELD"),
    ],
)
def test_statistics_of_what_does_not_exist_are_refused(
    oip: Oip, name: str, version: str, reason: str
) -> None:
    asked = pb.ModelStatisticsRequest(name=name, version=version)

    assert failure(oip.stub.ModelStatistics, asked).reason == reason


def test_configuration_and_statistics_are_for_callers_with_a_token(oip: Oip) -> None:
    with sync_channel(oip.server.address) as channel:
        stub = oip_grpc.GRPCInferenceServiceStub(channel)

        errors = [
            failure(stub.ModelConfig, pb.ModelConfigRequest(name="base")),
            failure(stub.ModelStatistics, pb.ModelStatisticsRequest()),
        ]

    assert {error.reason for error in errors} == {"ERROR_REASON_TOKEN_MISSING"}
