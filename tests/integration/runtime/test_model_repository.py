"""The model repository on a folder and on S3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from onnx_graphs import base_model, base_model_card, encoder
from parfocal_runtime.errors import AlreadyExists, InvalidInput, NotFound, WrongState
from parfocal_runtime.models.config_pbtxt import read_config, write_config
from parfocal_runtime.models.publish import publish_file
from parfocal_runtime.models.repository import ListedModel, ModelRepository
from parfocal_runtime.store import LocalStore, ObjectStore


@pytest.fixture
def repository(object_store: ObjectStore) -> ModelRepository:
    return ModelRepository(object_store)


def publish(
    repository: ModelRepository,
    *,
    divisor: float = 255.0,
    version: int | None = None,
    key: str = "",
    seed: int = 0,
) -> int:
    return repository.publish(
        "base",
        base_model(divisor=divisor),
        card=base_model_card(divisor=divisor),
        lineage={"seed": seed, "auc": float("nan")},
        version=version,
        key=key,
    )


def together(calls: Sequence[Callable[[], int]]) -> list[int]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_a_published_version_is_listed_and_loads(repository: ModelRepository) -> None:
    version = publish(repository, seed=7)

    model = repository.load("base")
    assert version == model.version == 1
    assert repository.models() == [ListedModel("base", [1])]
    assert repository.versions("base") == [1]
    assert model.lineage == {"seed": 7, "auc": None}
    assert model.card.window == (4, 8, 8)
    image = np.full((3, 1, 4, 8, 8), 255, np.uint8)
    assert (model.session.run({"image": image})["probability"] == 1).all()


def test_the_layout_is_tritons(repository: ModelRepository, object_store: ObjectStore) -> None:
    publish(repository)

    assert list(object_store.list("models/base")) == [
        "models/base/1/lineage.json",
        "models/base/1/model.onnx",
        "models/base/1/rdf.yaml",
        "models/base/1/test_input_0.npy",
        "models/base/1/test_output_0.npy",
        "models/base/config.pbtxt",
    ]
    assert object_store.read("models/base/1/model.onnx") == base_model()
    assert list(read_config(object_store.read("models/base/config.pbtxt")).input[0].dims) == [
        1,
        4,
        8,
        8,
    ]


def test_the_same_content_is_the_same_version(repository: ModelRepository) -> None:
    assert publish(repository) == 1
    assert publish(repository) == 1
    assert publish(repository, seed=1) == 2
    assert publish(repository) == 1
    assert repository.versions("base") == [1, 2]


def test_the_same_key_is_the_same_version_whatever_the_content(
    repository: ModelRepository,
) -> None:
    first = publish(repository, key="run-a")

    assert publish(repository, key="run-a", divisor=300.0) == first
    assert publish(repository, key="run-b") == first + 1


def test_a_version_that_is_asked_for_is_given_once(repository: ModelRepository) -> None:
    assert publish(repository, version=5) == 5
    assert publish(repository, version=5) == 5
    assert publish(repository, seed=1) == 6

    with pytest.raises(AlreadyExists) as caught:
        publish(repository, version=5, seed=2)

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"


def test_publishers_that_race_with_different_content_get_a_version_each(
    repository: ModelRepository,
) -> None:
    calls = [partial(publish, repository, seed=seed) for seed in range(6)]

    versions = together(calls)

    assert sorted(versions) == repository.versions("base") == [1, 2, 3, 4, 5, 6]
    for seed, version in enumerate(versions):
        assert repository.load("base", version).lineage["seed"] == seed


def test_publishers_that_race_with_the_same_content_get_the_same_version(
    repository: ModelRepository,
) -> None:
    versions = together([lambda: publish(repository)] * 6)

    assert set(versions) == {1}
    assert repository.versions("base") == [1]


def test_a_folder_without_a_card_is_no_version(
    repository: ModelRepository, object_store: ObjectStore
) -> None:
    object_store.write("models/base/3/model.onnx", base_model())
    object_store.write("models/base/notes/readme.txt", b"")
    object_store.write("models/Odd Name/1/rdf.yaml", b"")

    assert repository.versions("base") == []
    assert repository.models() == []
    with pytest.raises(NotFound):
        repository.load("base", 3)
    assert publish(repository) == 4


def test_a_version_without_a_lineage_is_not_written_over(
    repository: ModelRepository, object_store: ObjectStore
) -> None:
    publish(repository)
    object_store.delete("models/base/1/lineage.json")

    with pytest.raises(AlreadyExists):
        publish(repository, version=1, seed=1)

    assert publish(repository) == 2
    assert repository.load("base", 1).lineage == {}


def test_a_tuned_configuration_is_kept_while_the_tensors_stay(
    repository: ModelRepository, object_store: ObjectStore
) -> None:
    publish(repository)
    tuned = read_config(object_store.read("models/base/config.pbtxt"))
    tuned.max_batch_size = 4
    object_store.write("models/base/config.pbtxt", write_config(tuned))

    publish(repository, seed=1)

    assert repository.load("base").config == tuned


def test_a_configuration_follows_the_tensors_of_the_newest_version(
    repository: ModelRepository, object_store: ObjectStore
) -> None:
    publish(repository)

    repository.publish(
        "base", base_model((4, 16, 16)), card=base_model_card((4, 16, 16)), lineage={}
    )

    config = repository.load("base").config
    assert list(config.input[0].dims) == [1, 4, 16, 16]


@pytest.mark.parametrize("model", [b"", base_model()[:-11], b"text"])
def test_a_graph_that_is_not_whole_is_not_published(model: bytes, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    with pytest.raises(InvalidInput) as caught:
        ModelRepository(store).publish("base", model, card=base_model_card(), lineage={})

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"
    assert list(store.list()) == []


def test_a_bare_file_is_published_to_the_store(
    object_store: ObjectStore, repository: ModelRepository, tmp_path: Path
) -> None:
    file = tmp_path / "encoder.onnx"
    file.write_bytes(encoder())

    version = publish_file(object_store, "mask-encoder", file)

    assert repository.load("mask-encoder", version).card.kind == "encoder"


class Killed(BaseException):
    """What no `except Exception` sees, as the end of a process."""


class DyingStore(LocalStore):
    """A store whose user is killed after some number of writes."""

    writes_left: int | None = None

    def create(self, path: str, data: bytes) -> bool:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Killed
            self.writes_left -= 1
        return super().create(path, data)


@pytest.mark.parametrize("writes", range(6))
def test_a_publisher_that_was_killed_leaves_nothing_visible_and_finishes_when_it_comes_back(
    writes: int, tmp_path: Path
) -> None:
    store = DyingStore(tmp_path)
    repository = ModelRepository(store)
    store.writes_left = writes
    with pytest.raises(Killed):
        publish(repository, key="run-a")
    store.writes_left = None

    assert repository.versions("base") == []
    assert publish(repository, key="run-a") == 1
    assert repository.load("base").version == 1


@pytest.mark.parametrize("writes", range(1, 6))
def test_what_a_killed_publisher_left_is_not_mixed_with_other_content(
    writes: int, tmp_path: Path
) -> None:
    store = DyingStore(tmp_path)
    repository = ModelRepository(store)
    store.writes_left = writes
    with pytest.raises(Killed):
        publish(repository, key="run-a")
    store.writes_left = None

    assert publish(repository, key="run-a", divisor=300.0) == 2
    assert repository.versions("base") == [2]
    assert repository.load("base").version == 2


def test_a_card_that_is_not_the_graphs_is_not_published(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    with pytest.raises(WrongState, match="differs from the card") as caught:
        ModelRepository(store).publish(
            "base", base_model(), card=base_model_card(divisor=300.0), lineage={}
        )

    assert caught.value.reason == "ERROR_REASON_MODEL_SELF_TEST_FAILED"
    assert list(store.list()) == []


def test_two_models_do_not_share_versions(repository: ModelRepository) -> None:
    for name in ("two", "one"):
        repository.publish(name, base_model(), card=base_model_card(), lineage={})

    assert repository.models() == [ListedModel("one", [1]), ListedModel("two", [1])]
    assert repository.versions("one") == repository.versions("two") == [1]
