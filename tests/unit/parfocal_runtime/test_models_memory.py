from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_graphs import graph
from parfocal_runtime.errors import Exhausted
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.footprint import Footprint, footprint
from parfocal_runtime.models.index import ModelState
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.placement import Placement
from parfocal_runtime.models.providers import CUDA, SessionOptions
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import ObjectStore, open_store

SIDE = 64
WEIGHTS = SIDE * SIDE * 4
ROW = SIDE * 4
ON_CPU = (Placement(SessionOptions()),)


def chain(layers: int = 3, side: int = SIDE) -> bytes:
    """Return a model whose results (n, side) each need the one before and the input."""
    weights = numpy_helper.from_array(np.eye(side, dtype=np.float32), "w")
    nodes, last = [], "x"
    for layer in range(layers):
        nodes.append(helper.make_node("MatMul", [last, "w"], [f"m{layer}"]))
        last = f"m{layer}"
    nodes.append(helper.make_node("Add", [last, "x"], ["y"]))
    shape = ("n", side)
    return graph(
        nodes,
        inputs=[("x", TensorProto.FLOAT, shape)],
        outputs=[("y", TensorProto.FLOAT, shape)],
        constants=[weights],
    )


def taken(text: str, places: tuple[Placement, ...] = ON_CPU) -> Footprint:
    return footprint(chain(), read_config(text.encode()), places, {"x": (2, SIDE)})


def test_results_count_from_where_they_are_made_to_where_they_are_last_needed() -> None:
    # The input, and two neighbours of the chain.
    assert taken("max_batch_size: 1") == Footprint(WEIGHTS, 3 * ROW, 3 * ROW)
    longer = footprint(chain(20), read_config(b"max_batch_size: 1"), ON_CPU, {})
    assert longer == Footprint(WEIGHTS, 3 * ROW, 3 * ROW)


def test_the_largest_run_of_every_instance_counts() -> None:
    places = (Placement(SessionOptions(), instances=3),)

    assert taken("max_batch_size: 8", places) == Footprint(WEIGHTS, 3 * ROW * 8 * 3, 3 * ROW)
    assert taken("", places) == Footprint(WEIGHTS, 3 * ROW * 2 * 3)


def test_on_a_gpu_each_size_of_a_run_has_a_session() -> None:
    places = (Placement(SessionOptions(providers=(CUDA,))),)

    found = taken("max_batch_size: 4 dynamic_batching {}", places)

    assert found == Footprint(3 * WEIGHTS, 3 * ROW * (1 + 2 + 4), 3 * ROW)


def test_sides_that_are_free_are_those_of_the_test() -> None:
    free = graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        inputs=[("x", TensorProto.UINT8, ("n", "m"))],
        outputs=[("y", TensorProto.UINT8, ("n", "m"))],
    )

    found = footprint(free, read_config(b"max_batch_size: 2"), ON_CPU, {"x": (5, 30)})

    assert found == Footprint(0, 2 * 2 * 30, 2 * 30)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "store").as_uri())
    for name in ("first", "second"):
        publish(store, tmp_path, name)
    return store


def publish(store: ObjectStore, folder: Path, name: str, side: int = SIDE) -> int:
    (folder / "model.onnx").write_bytes(chain(side=side))
    version = publish_file(store, name, folder / "model.onnx", lineage={"side": side})
    store.write(f"models/{name}/config.pbtxt", b"max_batch_size: 1")
    return version


ONE = WEIGHTS + 3 * ROW


def test_a_model_above_the_budget_is_refused_with_what_it_takes(store: ObjectStore) -> None:
    models = LoadedModels(ModelRepository(store), memory_bytes=int(1.5 * ONE))
    models.load("first")

    with pytest.raises(Exhausted, match="unload one") as caught:
        models.load("second")

    assert caught.value.reason == "ERROR_REASON_MODEL_MEMORY"
    assert caught.value.metadata == {
        "model": "second",
        "version": "1",
        "needed": str(ONE),
        "taken": str(ONE),
        "limit": str(int(1.5 * ONE)),
    }
    assert models.is_ready("first")
    assert not models.is_ready("second")
    states = {entry.name: entry for entry in models.index()}
    assert states["second"].state is ModelState.UNAVAILABLE
    assert "unload one" in states["second"].reason


def test_what_had_no_room_is_loaded_once_another_is_gone(store: ObjectStore) -> None:
    models = LoadedModels(ModelRepository(store), memory_bytes=int(1.5 * ONE))
    models.refresh()
    assert models.loaded() == [("first", 1)]

    models.unload("first")
    models.refresh()

    assert models.loaded() == [("second", 1)]
    assert models.footprints() == {("second", 1): Footprint(WEIGHTS, 3 * ROW, 3 * ROW)}


def test_versions_that_nobody_keeps_make_room(store: ObjectStore, tmp_path: Path) -> None:
    publish(store, tmp_path, "first", side=SIDE // 2)
    models = LoadedModels(ModelRepository(store), memory_bytes=int(2.5 * ONE))
    models.get("first", 1)
    models.get("first", 2)

    models.get("second")

    assert models.loaded() == [("first", 2), ("second", 1)] or models.loaded() == [
        ("first", 1),
        ("first", 2),
        ("second", 1),
    ]
    tight = LoadedModels(ModelRepository(store), memory_bytes=int(1.5 * ONE))
    tight.get("first", 1)
    tight.get("first", 2)
    tight.get("second")
    assert tight.loaded() == [("first", 2), ("second", 1)]


def test_a_model_that_is_loaded_again_needs_no_second_room(store: ObjectStore) -> None:
    models = LoadedModels(ModelRepository(store), memory_bytes=int(1.5 * ONE))

    models.load("first")

    assert models.load("first").version == 1


def test_a_newer_version_without_room_leaves_the_older_one_serving(
    store: ObjectStore, tmp_path: Path
) -> None:
    models = LoadedModels(ModelRepository(store), memory_bytes=int(1.5 * ONE), max_age_seconds=0.0)
    models.get("first")
    publish(store, tmp_path, "first", side=4 * SIDE)

    models.refresh()

    assert models.get("first").version == 1
    assert [key for key, error in models.failures().items()] == [("first", 2), ("second", 1)]
