from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_graphs import base_model, base_model_card, graph, identity
from parfocal_runtime.errors import DomainError, InvalidInput, NotFound, WrongState
from parfocal_runtime.models.card_yaml import read_card
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import open_session
from parfocal_runtime.models.variants import (
    checked_precision,
    compared,
    converted,
    half_rounded,
    publish_variant,
)
from parfocal_runtime.store import ObjectStore, open_store

ROWS = 64


def layer(scale: float = 1.0) -> bytes:
    """Return a model with output `y` (n, 4) = `x` (n, 8) times weights of that size."""
    weights = scale * np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ("n", 8))],
        outputs=[("y", TensorProto.FLOAT, ("n", 4))],
        constants=[numpy_helper.from_array(weights.astype(np.float32), "w")],
    )


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "store").as_uri())
    file = tmp_path / "model.onnx"
    file.write_bytes(layer())
    publish_file(store, "dense", file, description="A layer.")
    ModelRepository(store).publish("grey", base_model(), card=base_model_card(), lineage={})
    return store


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_variant_is_a_model_of_its_own_that_takes_and_gives_the_same(
    store: ObjectStore, precision: str
) -> None:
    version = publish_variant(store, "dense", checked_precision(precision)).version

    variant = ModelRepository(store).load(f"dense-{precision}", version)
    original = ModelRepository(store).load("dense")
    x = {"x": np.random.default_rng(1).random((ROWS, 8), dtype=np.float32)}
    assert version == 1
    assert variant.session.inputs == original.session.inputs
    assert variant.session.outputs == original.session.outputs
    gap = np.abs(variant.session.run(x)["y"] - original.session.run(x)["y"]).max()
    assert 0 < gap < 0.05


def test_card_and_lineage_say_what_a_variant_gave_up(store: ObjectStore) -> None:
    publish_variant(store, "dense", "fp16", limit=0.01)

    repository = ModelRepository(store)
    report = repository.card("dense-fp16", 1).variant
    assert report is not None
    assert (report.precision, report.of, report.rows) == ("fp16", "dense/1", 2)
    assert 0 < report.mean_difference < report.max_difference < 0.01
    assert report.changed is None
    assert f"{report.max_difference:.3g}" in repository.card("dense-fp16", 1).description
    lineage = repository.lineage("dense-fp16", 1)
    assert lineage["parent"] == {"name": "dense", "version": 1}
    assert lineage["variant"]["max_difference"] == report.max_difference
    assert lineage["variant"]["limit"] == 0.01


def test_of_a_base_model_the_voxels_that_change_sides_are_counted(store: ObjectStore) -> None:
    publish_variant(store, "grey", "fp16")

    report = ModelRepository(store).card("grey-fp16", 1).variant
    assert report is not None
    assert report.changed is not None
    assert 0 <= report.changed < 0.01
    assert "change sides" in report.sentence()


def test_a_variant_that_differs_too_much_is_not_published(store: ObjectStore) -> None:
    with pytest.raises(WrongState) as caught:
        publish_variant(store, "dense", "int8", limit=1e-6)

    assert caught.value.reason == "ERROR_REASON_VARIANT_INACCURATE"
    assert caught.value.metadata["model"] == "dense/1"
    assert float(caught.value.metadata["difference"]) > 1e-6
    assert ModelRepository(store).versions("dense-int8") == []


def test_a_variant_that_gives_what_is_no_number_is_not_published(
    store: ObjectStore, tmp_path: Path
) -> None:
    file = tmp_path / "large.onnx"
    file.write_bytes(layer(scale=6e4))
    publish_file(store, "large", file)
    ones = {"x": np.ones((1, 8), np.float32)}

    with pytest.raises(WrongState):
        publish_variant(store, "large", "fp16", limit=1e9, held_out=[{"x": 100 * ones["x"]}])


def test_every_result_is_rounded_as_a_gpu_keeps_it() -> None:
    model = graph(
        [helper.make_node("Add", ["x", "third"], ["sum"]),
         helper.make_node("Sub", ["sum", "third"], ["y"])],
        inputs=[("x", TensorProto.FLOAT, ("n",))],
        outputs=[("y", TensorProto.FLOAT, ("n",))],
        constants=[helper.make_tensor("third", TensorProto.FLOAT, [], [1000 / 3])],
    )  # fmt: skip
    x = np.linspace(0, 1, 50, dtype=np.float32)

    found = open_session(half_rounded(model)).run({"x": x})["y"]

    third = np.float16(1000 / 3).astype(np.float32)
    total = (x + third).astype(np.float16).astype(np.float32)
    expected = (total - third).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - x).max() > 0.05


@pytest.mark.parametrize("as_node", [False, True])
def test_sizes_are_not_rounded(as_node: bool) -> None:
    third = helper.make_tensor("scales", TensorProto.FLOAT, [2], [1.0, 1 / 3])
    model = graph(
        [*([helper.make_node("Constant", [], ["scales"], value=third)] if as_node else []),
         helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")],
        inputs=[("x", TensorProto.FLOAT, ("n", 9))],
        outputs=[("y", TensorProto.FLOAT, ("n", "m"))],
        constants=[] if as_node else [third],
    )  # fmt: skip
    x = {"x": np.arange(9, dtype=np.float32).reshape(1, 9)}

    # A third of 16 bits is a little less than a third.
    assert open_session(half_rounded(model)).run(x)["y"].shape == (1, 3)


def test_a_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidInput, match="fp16 or int8"):
        checked_precision("fp8")


def test_what_is_held_out_counts_too(store: ObjectStore) -> None:
    held_out = [{"x": np.ones((10, 8), np.float32)}]

    publish_variant(store, "dense", "fp16", held_out=held_out)

    report = ModelRepository(store).card("dense-fp16", 1).variant
    assert report is not None
    assert report.rows == 12


def test_a_variant_has_no_variants(store: ObjectStore) -> None:
    made = publish_variant(store, "dense", "fp16")

    with pytest.raises(InvalidInput, match="is the fp16 variant of dense/1 already") as caught:
        publish_variant(store, made.name, "fp16")

    assert caught.value.metadata["field"] == "name"


def test_publishing_a_variant_again_is_no_error(store: ObjectStore) -> None:
    first, again = (publish_variant(store, "dense", "fp16") for _ in range(2))

    assert first == again
    assert (first.name, first.version) == ("dense-fp16", 1)


def test_there_is_no_variant_of_what_is_not_there_or_cannot_be_converted(
    store: ObjectStore, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(identity(TensorProto.INT64))
    publish_file(store, "whole", file)

    with pytest.raises(NotFound):
        publish_variant(store, "none", "fp16")
    for precision in ("fp16", "int8"):
        with pytest.raises(InvalidInput, match=f"no {precision} variant"):
            publish_variant(store, "whole", checked_precision(precision))


def test_differences_are_those_of_the_outputs() -> None:
    right = open_session(layer())
    wrong = open_session(converted(layer(), "fp16"))
    x = {"x": np.full((3, 8), 100, np.float32)}

    report = compared(right, wrong, [x], is_base=False)

    a, b = right.run(x)["y"], wrong.run(x)["y"]
    assert report.max_difference == np.abs(a - b.astype(np.float64)).max()
    assert report.difference == pytest.approx(report.max_difference / np.abs(a).max())
    assert report.rows == 3
    same = compared(right, right, [x], is_base=True)
    assert (same.max_difference, same.mean_difference, same.changed) == (0, 0, 0)


def test_a_card_with_a_variant_that_cannot_be_read_is_refused(store: ObjectStore) -> None:
    publish_variant(store, "dense", "fp16")
    folder = "models/dense-fp16/1"
    rdf = store.read(f"{folder}/rdf.yaml").replace(b"mean_difference", b"mean_indifference")

    with pytest.raises(DomainError, match="variant"):
        read_card(rdf, lambda file: store.read(f"{folder}/{file}"))
