"""Loading and unloading models on demand, and the index of what is loaded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from model_files import spoil_test_output
from onnx_graphs import base_model, base_model_card
from parfocal_runtime.errors import NotFound, WrongState
from parfocal_runtime.models.index import ModelState
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.loading import StoredModel
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.store import LocalStore


class SlowRepository(ModelRepository):
    """A repository whose models, or one version, take as long to load as a test wants."""

    def __init__(self, store: LocalStore, *, slow_version: int | None = None) -> None:
        super().__init__(store)
        self.slow_version = slow_version
        self.began = threading.Event()
        self.may_end = threading.Event()

    def read(self, name: str, version: int | None = None) -> StoredModel:
        if self.slow_version in (None, version):
            self.began.set()
            assert self.may_end.wait(30)
        return super().read(name, version)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def repository(store: LocalStore) -> ModelRepository:
    return ModelRepository(store)


def publish(repository: ModelRepository, *, divisor: float = 255.0, name: str = "base") -> int:
    return repository.publish(
        name, base_model(divisor=divisor), card=base_model_card(divisor=divisor), lineage={}
    )


def test_an_unloaded_model_is_not_ready_until_it_is_loaded_again(
    repository: ModelRepository,
) -> None:
    publish(repository)
    publish(repository, divisor=510.0)
    models = LoadedModels(repository)
    models.get("base", 1)
    models.get("base", 2)

    models.unload("base")

    assert models.loaded() == []
    assert models.at_hand("base") is None
    for version in (None, 1, 2):
        assert not models.is_ready("base", version)
        with pytest.raises(WrongState, match="it was unloaded") as caught:
            models.get("base", version)
        assert caught.value.reason == "ERROR_REASON_MODEL_NOT_READY"
    assert models.load("base").version == 2
    assert models.get("base", 1).version == 1


def test_a_look_does_not_load_what_was_unloaded_nor_what_is_published_of_it_later(
    repository: ModelRepository,
) -> None:
    publish(repository)
    models = LoadedModels(repository)
    models.refresh()
    models.unload("base")
    publish(repository, divisor=510.0)

    models.refresh()

    assert models.loaded() == []
    assert models.failures() == {}
    assert models.load("base").version == 2


def test_a_model_that_was_unloaded_and_deleted_is_unknown_and_new_when_it_comes_back(
    repository: ModelRepository, store: LocalStore
) -> None:
    publish(repository)
    models = LoadedModels(repository, max_age_seconds=0.0)
    models.unload("base")
    store.delete_prefix("models/base")

    with pytest.raises(NotFound):
        models.get("base")
    publish(repository)
    assert models.get("base").version == 1


@pytest.mark.parametrize("name", ["none", "No Name!", ""])
def test_what_does_not_exist_is_neither_loaded_nor_unloaded(
    repository: ModelRepository, name: str
) -> None:
    models = LoadedModels(repository)

    for change in (models.load, models.unload):
        with pytest.raises(NotFound) as caught:
            change(name)
        assert caught.value.reason == "ERROR_REASON_MODEL_NOT_FOUND"


def test_who_has_a_model_that_is_unloaded_can_still_run_it(repository: ModelRepository) -> None:
    publish(repository)
    models = LoadedModels(repository)
    model = models.get("base")

    models.unload("base")

    image = np.full((1, 1, 4, 8, 8), 51, np.uint8)
    np.testing.assert_allclose(model.session.run({"image": image})["probability"], 0.2)


def test_loading_again_tries_a_version_that_failed(
    repository: ModelRepository, store: LocalStore
) -> None:
    publish(repository)
    files = ("models/base/1/test_output_0.npy", "models/base/1/rdf.yaml")
    whole = {file: store.read(file) for file in files}
    spoil_test_output(store, "base")
    models = LoadedModels(repository)
    with pytest.raises(WrongState):
        models.load("base")
    assert not models.is_ready("base")
    for file, content in whole.items():
        store.write(file, content)

    assert not models.is_ready("base")
    assert models.load("base").version == 1
    assert models.is_ready("base")
    assert models.failures() == {}


def test_a_model_that_cannot_be_loaded_again_serves_on_as_it_was(
    repository: ModelRepository, store: LocalStore
) -> None:
    publish(repository)
    models = LoadedModels(repository)
    before = models.get("base")
    spoil_test_output(store, "base")

    with pytest.raises(WrongState) as caught:
        models.load("base")

    assert caught.value.reason == "ERROR_REASON_MODEL_SELF_TEST_FAILED"
    assert models.get("base") is before


def test_loading_again_reads_the_configuration_again(
    repository: ModelRepository, store: LocalStore
) -> None:
    publish(repository)
    models = LoadedModels(repository)
    before = models.get("base")
    config = store.read("models/base/config.pbtxt")
    store.write("models/base/config.pbtxt", config.replace(b"batch_size: 64", b"batch_size: 8"))

    after = models.load("base")

    assert (before.config.max_batch_size, after.config.max_batch_size) == (64, 8)
    assert models.get("base") is after


def test_the_index_tells_the_state_of_every_version_and_why_it_is_not_ready(
    repository: ModelRepository, store: LocalStore
) -> None:
    publish(repository)
    publish(repository, divisor=510.0)
    for name in ("broken", "gone"):
        publish(repository, name=name)
    spoil_test_output(store, "broken")
    models = LoadedModels(repository)
    models.refresh()
    models.unload("gone")

    entries = {(entry.name, entry.version): entry for entry in models.index()}

    assert list(entries) == [("base", 1), ("base", 2), ("broken", 1), ("gone", 1)]
    assert (entries["base", 2].state, entries["base", 2].reason) == (ModelState.READY, "")
    for key, reason in [
        (("base", 1), "not in memory"),
        (("broken", 1), "differs from the card"),
        (("gone", 1), "was unloaded"),
    ]:
        assert entries[key].state is ModelState.UNAVAILABLE
        assert reason in entries[key].reason


def test_a_version_is_loading_in_the_index_until_it_is_loaded(store: LocalStore) -> None:
    slow = SlowRepository(store)
    publish(slow)
    models = LoadedModels(slow)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(models.load, "base")
        assert slow.began.wait(30)

        during = models.index()[0].state
        slow.may_end.set()
        loading.result()

    assert during is ModelState.LOADING
    assert models.index()[0].state is ModelState.READY


def test_a_model_unloaded_while_it_is_being_loaded_stays_unloaded(store: LocalStore) -> None:
    slow = SlowRepository(store)
    publish(slow)
    models = LoadedModels(slow)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(models.get, "base")
        assert slow.began.wait(30)

        models.unload("base")
        slow.may_end.set()

        with pytest.raises(WrongState, match="it was unloaded"):
            loading.result()
    assert models.loaded() == []
    assert models.load("base").version == 1


def test_a_version_that_is_loaded_again_goes_on_being_the_default(store: LocalStore) -> None:
    slow = SlowRepository(store)
    publish(slow)
    publish(slow, divisor=510.0)
    slow.may_end.set()
    models = LoadedModels(slow, max_age_seconds=0.0)
    models.get("base", 1)
    models.get("base", 2)
    slow.may_end.clear()
    slow.began.clear()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(models.load, "base")
        assert slow.began.wait(30)

        during = models.get("base").version
        slow.may_end.set()
        loading.result()

    assert during == 2


def test_a_look_that_began_before_a_load_does_not_undo_it(store: LocalStore) -> None:
    slow = SlowRepository(store, slow_version=1)
    publish(slow)
    models = LoadedModels(slow, max_age_seconds=3600.0)
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(models.refresh)
        assert slow.began.wait(30)
        publish(slow, divisor=510.0)

        models.load("base")
        slow.may_end.set()
        looking.result()

    assert models.get("base").version == 2
    assert models.loaded() == [("base", 1), ("base", 2)]


def test_loads_and_unloads_from_many_threads_leave_what_the_last_one_said(
    repository: ModelRepository,
) -> None:
    publish(repository)
    models = LoadedModels(repository)

    def change(number: int) -> None:
        with suppress(WrongState):
            (models.load, models.unload, models.get, models.is_ready)[number % 4]("base")

    watcher = ModelWatcher(models, interval_seconds=0.01)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(200)))
    models.unload("base")
    assert not models.is_ready("base")
    models.load("base")
    watcher.stop()

    assert models.is_ready("base")
    assert models.failures() == {}
