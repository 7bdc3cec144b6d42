from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from parfocal_inference.oip.v2 import inference_pb2 as pb
from parfocal_inference.tensors import inputs_from_pb, outputs_from_pb, outputs_to_pb
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.datatypes import BYTES, NUMPY, Array
from parfocal_runtime.models.sessions import TensorSpec

FIXED = sorted(set(NUMPY) - {BYTES})
TYPED = sorted(set(NUMPY) - {"FP16", "BF16"})
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def spec(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 2), name: str = "x") -> TensorSpec:
    return TensorSpec(name, datatype, shape, ("",) * len(shape))


def raw_request(array: Array, datatype: str) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(raw_input_contents=[array.tobytes()])
    request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    return request


def typed_request(
    values: list[Any], datatype: str, shape: tuple[int, ...], *, contents: str = ""
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    getattr(tensor.contents, contents or CONTENTS[datatype]).extend(values)
    return request


def refused(request: pb.ModelInferRequest, *specs: TensorSpec) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        inputs_from_pb(request, specs or (spec(),))
    return caught.value


@pytest.mark.parametrize("datatype", FIXED)
@given(data=st.data())
def test_raw_contents_of_every_type_pass_unchanged(datatype: str, data: st.DataObject) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    array: Array = data.draw(npst.arrays(NUMPY[datatype], shape))
    tensor = spec(datatype, (-1,) * len(shape))

    found = inputs_from_pb(raw_request(array, datatype), (tensor,))["x"]
    answer = pb.ModelInferResponse()
    outputs_to_pb(answer, {"x": found}, (tensor,))

    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert answer.raw_output_contents[0] == array.tobytes()
    assert answer.outputs[0].datatype == datatype
    assert tuple(answer.outputs[0].shape) == shape


@given(
    items=st.lists(st.binary(max_size=9), max_size=6),
)
def test_raw_bytes_pass_unchanged(items: list[bytes]) -> None:
    wire = b"".join(struct.pack("<I", len(item)) + item for item in items)
    request = pb.ModelInferRequest(raw_input_contents=[wire])
    request.inputs.add(name="x", datatype="BYTES", shape=(len(items),))
    tensor = spec("BYTES", (-1,))

    found = inputs_from_pb(request, (tensor,))["x"]
    answer = pb.ModelInferResponse()
    outputs_to_pb(answer, {"x": found}, (tensor,))

    assert found.tolist() == items
    assert answer.raw_output_contents[0] == wire


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_of_every_type_are_read(datatype: str) -> None:
    values: list[Any] = [b"a", b"\0", b"", b"bc"] if datatype == BYTES else [1, 0, 1, 1]

    found = inputs_from_pb(typed_request(values, datatype, (2, 2)), (spec(datatype),))["x"]

    assert found.dtype == NUMPY[datatype]
    assert found.shape == (2, 2)
    assert found.ravel().tolist() == values


def test_raw_contents_are_not_copied() -> None:
    found = inputs_from_pb(raw_request(np.ones((3, 2), np.float32), "FP32"), (spec(),))["x"]

    assert not found.flags.owndata
    assert not found.flags.writeable


def test_outputs_that_are_views_are_written_row_by_row() -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2).T
    answer = pb.ModelInferResponse()

    outputs_to_pb(answer, {"x": array}, (spec(),))

    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("datatype", ["FP64", "", "fp32", "FLOAT"])
def test_another_type_than_the_models_is_refused(datatype: str) -> None:
    error = refused(raw_request(np.ones((1, 2), np.float32), datatype))

    assert error.reason == "ERROR_REASON_DTYPE_MISMATCH"
    assert error.metadata["field"] == "inputs[0].datatype"
    assert error.metadata["expected"] == "FP32"


def test_rows_without_data_are_not_without_number() -> None:
    request = pb.ModelInferRequest(raw_input_contents=[b""])
    request.inputs.add(name="x", datatype="FP32", shape=[2**20, 0])
    specs = [TensorSpec("x", "FP32", (-1, -1), ("n", "m"))]

    with pytest.raises(InvalidInput, match="has no data") as caught:
        inputs_from_pb(request, specs)
    request.inputs[0].shape[:] = [3, 0]

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert caught.value.metadata["field"] == "inputs[0].shape"
    assert inputs_from_pb(request, specs)["x"].shape == (3, 0)


@pytest.mark.parametrize("shape", [(1, 3), (2,), (1, 2, 1), (-1, 2), (2**40, 2), ()])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    request = pb.ModelInferRequest(raw_input_contents=[b"\0" * 8])
    request.inputs.add(name="x", datatype="FP32", shape=shape)

    error = refused(request)

    assert error.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert error.metadata["field"] == "inputs[0].shape"


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_another_number_of_bytes_than_the_shape_takes_is_refused(size: int) -> None:
    request = pb.ModelInferRequest(raw_input_contents=[b"\0" * size])
    request.inputs.add(name="x", datatype="FP32", shape=(1, 2))

    error = refused(request)

    assert error.metadata["field"] == "raw_input_contents[0]"
    assert "takes 8 bytes" in error.message


@pytest.mark.parametrize(
    "wire",
    [b"", b"\1", b"\1\0\0\0", b"\1\0\0\0a", b"\1\0\0\0a\1\0\0\0bc", b"\xff\xff\xff\xffab"],
)
def test_bytes_that_are_not_lengths_and_elements_are_refused(wire: bytes) -> None:
    request = pb.ModelInferRequest(raw_input_contents=[wire])
    request.inputs.add(name="x", datatype="BYTES", shape=(2,))

    error = refused(request, spec("BYTES", (-1,)))

    assert error.metadata["field"] == "raw_input_contents[0]"


def test_raw_and_typed_contents_together_are_refused() -> None:
    request = typed_request([1.0, 2.0], "FP32", (1, 2))
    request.raw_input_contents.append(b"\0" * 8)

    assert refused(request).metadata["field"] == "inputs[0].contents"


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_raw_contents_than_inputs_is_refused(count: int) -> None:
    request = pb.ModelInferRequest(raw_input_contents=[b"\0" * 8] * count)
    for name in ("x", "y"):
        request.inputs.add(name=name, datatype="FP32", shape=(1, 2))

    error = refused(request, spec(), spec(name="y"))

    assert error.metadata["field"] == "raw_input_contents"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_elements_than_the_shape_takes_is_refused(count: int) -> None:
    error = refused(typed_request([1.0] * count, "FP32", (1, 2)))

    assert error.metadata["field"] == "inputs[0].contents"


def test_elements_in_the_list_of_another_type_are_refused() -> None:
    error = refused(typed_request([1, 2], "FP32", (1, 2), contents="int_contents"))

    assert error.metadata["field"] == "inputs[0].contents.int_contents"


@pytest.mark.parametrize(("datatype", "value"), [("INT8", 200), ("UINT8", 256), ("INT16", -40000)])
def test_elements_out_of_range_are_refused_and_not_wrapped(datatype: str, value: int) -> None:
    error = refused(typed_request([0, value], datatype, (1, 2)), spec(datatype))

    assert "does not fit" in error.message


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_are_taken_raw_only(datatype: str) -> None:
    request = typed_request([1.0, 2.0], datatype, (1, 2), contents="fp32_contents")

    assert "raw_input_contents" in refused(request, spec(datatype)).message


def test_an_input_that_is_missing_is_named() -> None:
    error = refused(raw_request(np.ones((1, 2), np.float32), "FP32"), spec(), spec(name="y"))

    assert error.reason == "ERROR_REASON_MISSING_FIELD"
    assert error.metadata["missing"] == "y"


def test_an_input_that_the_model_does_not_have_is_refused() -> None:
    error = refused(raw_request(np.ones((1, 2), np.float32), "FP32"), spec(name="z"))

    assert error.metadata["field"] == "inputs[0].name"


def test_an_input_that_is_there_twice_is_refused() -> None:
    request = raw_request(np.ones((1, 2), np.float32), "FP32")
    request.MergeFrom(request)

    assert refused(request).metadata["field"] == "inputs[1].name"


def test_shared_memory_is_refused_by_name() -> None:
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype="FP32", shape=(1, 2))
    tensor.parameters["shared_memory_region"].string_param = "region"

    assert "shared memory" in refused(request).message


@pytest.mark.parametrize("name", ["shared_memory_region", "classification"])
def test_an_output_wanted_in_another_form_is_refused_by_its_place(name: str) -> None:
    request = pb.ModelInferRequest()
    request.outputs.add(name="x")
    request.outputs.add(name="y").parameters[name].int64_param = 3

    with pytest.raises(InvalidInput) as caught:
        outputs_from_pb(request, (spec(name="x"), spec(name="y")))

    assert caught.value.metadata["field"] == "outputs[1].parameters"


def test_parameters_of_tensors_that_are_not_known_are_passed_over() -> None:
    request = raw_request(np.ones((1, 2), np.float32), "FP32")
    request.inputs[0].parameters["binary_data_size"].int64_param = 8
    request.outputs.add(name="x").parameters["binary_data"].bool_param = True

    assert list(inputs_from_pb(request, (spec(),))) == ["x"]
    assert outputs_from_pb(request, (spec(),)) == ["x"]


def test_all_outputs_are_wanted_if_none_is_named() -> None:
    specs = (spec(name="a"), spec(name="b"))

    assert outputs_from_pb(pb.ModelInferRequest(), specs) == ["a", "b"]


def test_named_outputs_are_wanted_in_their_order() -> None:
    request = pb.ModelInferRequest()
    request.outputs.add(name="b")
    request.outputs.add(name="a")

    assert outputs_from_pb(request, (spec(name="a"), spec(name="b"))) == ["b", "a"]


@pytest.mark.parametrize("names", [["c"], ["a", "a"], [""]])
def test_outputs_that_are_unknown_or_there_twice_are_refused(names: list[str]) -> None:
    request = pb.ModelInferRequest()
    for name in names:
        request.outputs.add(name=name)

    with pytest.raises(InvalidInput) as caught:
        outputs_from_pb(request, (spec(name="a"),))

    assert caught.value.metadata["field"] == f"outputs[{len(names) - 1}].name"
