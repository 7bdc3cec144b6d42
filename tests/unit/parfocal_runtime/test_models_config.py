from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from onnx_graphs import graph, identity
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.config_pbtxt import (
    default_config,
    read_config,
    with_tensors,
    write_config,
)
from parfocal_runtime.models.sessions import ModelSession, open_session
from parfocal_runtime.triton.v1 import model_config_pb2 as pb

TUNED = b"""
name: "cells"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
version_policy: { specific: { versions: [ 2, 5 ] } }
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5000 }
}
optimization { graph: { level: 1 } }
"""


def session(model: bytes) -> ModelSession:
    return open_session(model)


def test_a_tuned_file_of_tritons_is_read_and_unknown_settings_are_passed_over() -> None:
    config = read_config(TUNED)

    assert config.max_batch_size == 8
    assert list(config.version_policy.specific.versions) == [2, 5]
    assert config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.default_queue_policy.default_timeout_microseconds == 5000


def test_what_is_written_is_read_back() -> None:
    config = read_config(TUNED)

    assert read_config(write_config(config)) == config


def test_a_model_with_a_batch_is_batched_and_its_sides_leave_the_batch_out() -> None:
    opened = session(identity(TensorProto.UINT8, ("n", 3, None)))

    config = default_config("cells", opened.inputs, opened.outputs)

    assert config.max_batch_size > 0
    assert config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [3, -1]
    assert config.input[0].data_type == pb.TYPE_UINT8


def test_a_model_without_a_batch_is_not_batched() -> None:
    opened = session(identity(TensorProto.STRING, (1, 3)))

    config = default_config("cells", opened.inputs, opened.outputs)

    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 3]
    assert config.input[0].data_type == pb.TYPE_STRING


@pytest.mark.parametrize("side", ["m", None])
def test_a_model_whose_output_may_have_other_rows_is_not_batched(side: str | None) -> None:
    opened = session(
        graph(
            [helper.make_node("NonZero", ["x"], ["found"]),
             helper.make_node("Transpose", ["found"], ["y"])],
            inputs=[("x", TensorProto.FLOAT, ("n", 2))],
            outputs=[("y", TensorProto.INT64, (side, 2))],
        )
    )  # fmt: skip

    config = default_config("finder", opened.inputs, opened.outputs)

    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.output[0].dims) == [-1, 2]


def test_a_tensor_of_one_value_a_row_is_reshaped_as_triton_wants() -> None:
    opened = session(identity(TensorProto.INT64, ("n",)))

    config = default_config("cells", opened.inputs, opened.outputs)

    assert list(config.input[0].dims) == [1]
    assert config.input[0].HasField("reshape")
    assert not config.input[0].reshape.shape


def test_new_tensors_keep_the_tuning() -> None:
    opened = session(identity(TensorProto.FLOAT, ("n", 7)))

    changed = with_tensors(read_config(TUNED), opened.inputs, opened.outputs)

    assert list(changed.input[0].dims) == [7]
    assert changed.max_batch_size == 8
    assert list(changed.dynamic_batching.preferred_batch_size) == [4, 8]


def test_new_tensors_without_a_batch_end_the_batching() -> None:
    opened = session(
        graph(
            [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
            inputs=[("x", TensorProto.FLOAT, ("n", 2))],
            outputs=[("y", TensorProto.FLOAT, ())],
        )
    )

    changed = with_tensors(read_config(TUNED), opened.inputs, opened.outputs)

    assert changed.max_batch_size == 0
    assert list(changed.input[0].dims) == [-1, 2]


@pytest.mark.parametrize("content", [b"max_batch_size: many", b"\xff\xfe", b"{"])
def test_a_file_that_is_no_configuration_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_config(content)

    assert caught.value.metadata["field"] == "config.pbtxt"
