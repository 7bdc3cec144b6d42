from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from onnx_graphs import base_model, encoder, graph, identity, sum_and_product
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.loading import LoadedModel
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import LocalStore

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def published(tmp_path: Path, model: bytes) -> LoadedModel:
    file = tmp_path / "file.onnx"
    file.write_bytes(model)
    store = LocalStore(tmp_path / "store")
    version = publish_file(store, "given", file)
    return ModelRepository(store).load("given", version)


@pytest.mark.parametrize(
    "element",
    [
        TensorProto.BOOL,
        TensorProto.UINT8,
        TensorProto.INT64,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
        TensorProto.STRING,
    ],
)
def test_a_bare_file_is_published_and_passes_its_self_test(element: int, tmp_path: Path) -> None:
    model = published(tmp_path, identity(element, ("n", "m")))

    assert model.version == 1
    assert model.card.kind == "other"
    assert model.lineage == {"source": "file.onnx"}


def test_a_file_with_the_names_of_a_base_model_becomes_one(tmp_path: Path) -> None:
    model = published(tmp_path, base_model((8, 16, 16)))

    assert model.card.kind == "base"
    assert model.card.window == (8, 16, 16)
    assert model.card.halo == (1, 2, 2)


@pytest.mark.parametrize(
    ("element", "stream"), [(TensorProto.UINT8, "image"), (TensorProto.INT8, "mask")]
)
def test_a_file_with_the_names_of_an_encoder_becomes_one(
    element: int, stream: str, tmp_path: Path
) -> None:
    model = published(tmp_path, encoder(element=element))

    assert (model.card.kind, model.card.stream) == ("encoder", stream)


def test_inputs_that_share_a_free_side_get_the_same_length(tmp_path: Path) -> None:
    model = published(tmp_path, sum_and_product())

    assert len({tensor.test.shape for tensor in model.card.inputs}) == 1


def test_a_size_on_which_the_graph_runs_is_found(tmp_path: Path) -> None:
    only_of_eight = graph(
        [helper.make_node("Add", ["x", "row"], ["y"])],
        inputs=[("x", FLOAT, ("n", "m"))],
        outputs=[("y", FLOAT, ("n", "m"))],
        constants=[helper.make_tensor("row", FLOAT, [8], [1.0] * 8)],
    )

    model = published(tmp_path, only_of_eight)

    assert model.card.inputs[0].test.shape == (2, 8)


def test_single_values_and_outputs_without_a_shape_are_published(tmp_path: Path) -> None:
    odd = graph(
        [
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
            helper.make_node("NonZero", ["x"], ["where"]),
        ],
        inputs=[("x", FLOAT, ("n", 2))],
        outputs=[("total", FLOAT, ()), ("where", INT64, None)],
    )

    model = published(tmp_path, odd)

    assert [tensor.test.shape for tensor in model.card.outputs] == [(1,), (2, 4)]


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (base_model()[:-7], "not an ONNX model"),
        (b"", "not an ONNX model"),
        (
            graph(
                [helper.make_node("RandomNormalLike", ["x"], ["y"])],
                inputs=[("x", FLOAT, ("n", 2))],
                outputs=[("y", FLOAT, ("n", 2))],
            ),
            "the same twice",
        ),
        (identity(shape=("sides", 2)).replace(b"sides", b"\xffides"), "not UTF-8"),
    ],
    ids=["truncated", "empty", "random", "no text"],
)
def test_a_file_that_cannot_be_served_is_refused_and_leaves_nothing(
    model: bytes, cause: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=cause) as caught:
        published(tmp_path, model)

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"
    assert not list(LocalStore(tmp_path / "store").list())


def test_a_name_that_is_no_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file.onnx"
    file.write_bytes(identity())

    with pytest.raises(InvalidInput) as caught:
        publish_file(LocalStore(tmp_path / "store"), "../elsewhere", file)

    assert caught.value.reason == "ERROR_REASON_INVALID_NAME"
