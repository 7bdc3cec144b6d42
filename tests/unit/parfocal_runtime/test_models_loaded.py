from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from closed_files import closed
from model_files import spoil_test_output
from onnx_graphs import base_model, base_model_card
from parfocal_runtime.errors import NotFound, PermissionDenied, Unavailable, WrongState
from parfocal_runtime.models import loaded
from parfocal_runtime.models.card_yaml import sha256
from parfocal_runtime.models.index import ModelState
from parfocal_runtime.models.loaded import LoadedModel, LoadedModels
from parfocal_runtime.models.loading import StoredModel, load_model
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.sessions import SessionOptions
from parfocal_runtime.models.watcher import ModelWatcher
from parfocal_runtime.store import LocalStore


class BreakableStore(LocalStore):
    """A store that can be away, which a folder never is by itself."""

    away = False

    def children(self, prefix: str = "") -> tuple[str, ...]:
        self._answer()
        return super().children(prefix)

    def read(self, path: str) -> bytes:
        self._answer()
        return super().read(path)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("ERROR_REASON_STORE_UNAVAILABLE", "the store is away")


@pytest.fixture
def store(tmp_path: Path) -> BreakableStore:
    return BreakableStore(tmp_path)


@pytest.fixture
def repository(store: BreakableStore) -> ModelRepository:
    return ModelRepository(store)


def publish(repository: ModelRepository, *, divisor: float = 255.0, name: str = "base") -> int:
    return repository.publish(
        name, base_model(divisor=divisor), card=base_model_card(divisor=divisor), lineage={}
    )


@contextmanager
def watching(models: LoadedModels) -> Iterator[ModelWatcher]:
    watcher = ModelWatcher(models, interval_seconds=0.01)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


def test_a_version_is_loaded_once_for_all_callers(repository: ModelRepository) -> None:
    publish(repository)
    models = LoadedModels(repository)
    found: list[object] = []

    threads = [threading.Thread(target=lambda: found.append(models.get("base"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len({id(model) for model in found}) == 1


def test_a_loaded_model_runs_and_knows_its_card(repository: ModelRepository) -> None:
    publish(repository)

    model = LoadedModels(repository).get("base", 1)

    image = np.full((1, 1, 4, 8, 8), 51, np.uint8)
    np.testing.assert_allclose(model.session.run({"image": image})["probability"], 0.2)
    assert model.card.window == (4, 8, 8)
    assert model.config.name == "base"


def test_the_newest_version_is_the_default_and_old_ones_stay(repository: ModelRepository) -> None:
    publish(repository)
    publish(repository, divisor=510.0)
    models = LoadedModels(repository)

    assert models.get("base").version == 2
    assert models.get("base", 1).version == 1
    assert models.versions("base") == (1, 2)


def test_a_model_whose_test_tensors_disagree_is_not_ready_and_says_why(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    spoil_test_output(store, "base")
    models = LoadedModels(repository)

    for _ in range(2):
        with pytest.raises(WrongState, match="output probability differs from the card") as caught:
            models.get("base")
        assert caught.value.reason == "ERROR_REASON_MODEL_SELF_TEST_FAILED"

    assert not models.is_ready("base")
    assert "differs" in models.failures()["base", 1].metadata["cause"]


def test_whatever_one_model_meets_the_others_are_loaded(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        publish(repository, name=name)

    # What cannot be foreseen cannot be made either.
    def unforeseen(stored: StoredModel, options: SessionOptions | None = None) -> LoadedModel:
        if stored.name == "b":
            raise KeyError("unforeseen")
        return load_model(stored, options)

    monkeypatch.setattr(loaded, "load_model", unforeseen)
    models = LoadedModels(repository, memory_bytes=1 << 20)

    models.refresh()

    assert models.loaded() == [("a", 1), ("c", 1)]
    assert "unforeseen" in models.failures()["b", 1].message
    with pytest.raises(WrongState, match="loading it failed"):
        models.load("b")


def test_room_that_was_kept_for_a_load_that_broke_off_is_given_back(
    repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(repository)
    needed = LoadedModels(repository).get("base").footprint.total
    models = LoadedModels(repository, memory_bytes=int(1.5 * needed))

    def broken_off(stored: StoredModel, options: SessionOptions | None = None) -> LoadedModel:
        raise Unavailable("ERROR_REASON_STORE_UNAVAILABLE", "the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(loaded, "load_model", broken_off)
        with pytest.raises(Unavailable):
            models.get("base")

    assert models.get("base").version == 1


def test_a_link_out_of_the_store_hides_no_other_model(
    repository: ModelRepository, store: BreakableStore, tmp_path: Path
) -> None:
    publish(repository, name="a")
    publish(repository, name="c")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    (tmp_path / "models" / "a").rename(outside)
    (tmp_path / "models" / "a").symlink_to(outside)
    models = LoadedModels(repository)

    models.refresh()

    assert models.loaded() == [("c", 1)]
    assert [entry.name for entry in models.index()] == ["c"]
    with pytest.raises(PermissionDenied, match="outside the object store"):
        models.get("a")


@pytest.mark.parametrize(
    "path", ["", "1", "1/rdf.yaml", "1/lineage.json", "1/model.onnx", "config.pbtxt"]
)
def test_what_may_not_be_read_breaks_its_model_alone(
    repository: ModelRepository, tmp_path: Path, path: str
) -> None:
    for name in ("a", "b", "c"):
        publish(repository, name=name)
    models = LoadedModels(repository)

    with closed(tmp_path / "models" / "b" / path), watching(models) as watcher:
        assert watcher.wait(20)

    assert models.loaded() == [("a", 1), ("c", 1)]
    with closed(tmp_path / "models" / "b" / path):
        entries = {entry.name: entry for entry in models.index()}
        with pytest.raises(WrongState) as caught:
            models.get("b")
    assert list(entries) == ["a", "b", "c"]
    assert entries["b"].state is ModelState.UNAVAILABLE
    assert "the object store refused" in entries["b"].reason
    assert caught.value.reason == "ERROR_REASON_MODEL_NOT_READY"


def test_a_folder_that_may_be_read_again_is_loaded_at_the_next_look(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository)
    models = LoadedModels(repository)
    with closed(tmp_path / "models" / "base"):
        models.refresh()

    models.refresh()

    assert models.loaded() == [("base", 1)]


def test_a_new_version_that_may_not_be_read_leaves_the_old_one_serving(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository)
    publish(repository, divisor=510.0)
    models = LoadedModels(repository)

    with closed(tmp_path / "models" / "base" / "2"):
        models.refresh()
        served = models.get("base").version
        (first, second) = models.index()

    assert served == 1
    assert (first.version, first.state) == (1, ModelState.READY)
    assert (second.version, second.state) == (2, ModelState.UNAVAILABLE)


def test_what_is_loaded_serves_on_while_its_folder_may_not_be_read(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository)
    models = LoadedModels(repository, max_age_seconds=0)
    models.refresh()

    with closed(tmp_path / "models" / "base"):
        models.refresh()

        assert models.get("base").version == 1
        assert [entry.state for entry in models.index()] == [ModelState.READY]


def test_whoever_stops_waits_for_no_further_versions(repository: ModelRepository) -> None:
    for name in ("a", "b", "c"):
        publish(repository, name=name)
    models = LoadedModels(repository)

    models.refresh(lambda: bool(models.loaded()))

    assert models.loaded() == [("a", 1)]


def test_a_version_that_failed_is_tried_again_after_a_while(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    config = store.read("models/base/config.pbtxt")
    patient = LoadedModels(repository)
    models = LoadedModels(repository, retry_seconds=0.0)
    store.write("models/base/config.pbtxt", b"max_batch_size: oops")
    for each in (patient, models):
        with pytest.raises(WrongState, match="oops"):
            each.get("base", 1)

    store.write("models/base/config.pbtxt", config)

    assert models.get("base", 1).version == 1
    with pytest.raises(WrongState, match="oops"):
        patient.get("base", 1)


def test_a_version_that_cannot_be_is_named(repository: ModelRepository) -> None:
    publish(repository)

    with pytest.raises(NotFound, match="no version 0 of model base"):
        LoadedModels(repository).get("base", 0)


def test_a_broken_new_version_leaves_the_old_one_serving(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    publish(repository, divisor=510.0)
    spoil_test_output(store, "base", 2)
    models = LoadedModels(repository)

    assert models.get("base").version == 1
    assert not models.is_ready("base", 2)


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("model.onnx", base_model()[:-9], "sha256"),
        ("model.onnx", base_model(divisor=2.0), "sha256"),
        ("test_input_0.npy", b"", "sha256"),
        ("rdf.yaml", b"type: model", "card"),
    ],
)
def test_a_changed_file_keeps_the_version_from_being_ready(
    repository: ModelRepository, store: BreakableStore, file: str, content: bytes, cause: str
) -> None:
    publish(repository)
    store.write(f"models/base/1/{file}", content)

    with pytest.raises(WrongState, match=cause) as caught:
        LoadedModels(repository).get("base")

    assert caught.value.reason == "ERROR_REASON_MODEL_NOT_READY"


def test_a_truncated_graph_with_a_card_of_its_own_is_not_ready(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    truncated = base_model()[:-9]
    card = yaml.safe_load(store.read("models/base/1/rdf.yaml"))
    card["weights"]["onnx"]["sha256"] = sha256(truncated)
    store.write("models/base/1/rdf.yaml", yaml.safe_dump(card).encode())
    store.write("models/base/1/model.onnx", truncated)

    with pytest.raises(WrongState, match="not an ONNX model that can be served"):
        LoadedModels(repository).get("base")


@pytest.mark.parametrize("file", ["model.onnx", "test_output_0.npy"])
def test_a_lost_file_keeps_the_version_from_being_ready(
    repository: ModelRepository, store: BreakableStore, file: str
) -> None:
    publish(repository)
    store.delete(f"models/base/1/{file}")

    with pytest.raises(WrongState) as caught:
        LoadedModels(repository).get("base")

    assert caught.value.reason == "ERROR_REASON_MODEL_NOT_READY"


@pytest.mark.parametrize(
    ("name", "version"), [("none", None), ("none", 1), ("base", 7), ("base", 0), ("No Name!", None)]
)
def test_what_does_not_exist_is_not_found(
    repository: ModelRepository, name: str, version: int | None
) -> None:
    publish(repository)
    models = LoadedModels(repository)

    with pytest.raises(NotFound) as caught:
        models.get(name, version)

    assert caught.value.reason == "ERROR_REASON_MODEL_NOT_FOUND"
    assert not models.is_ready(name, version)


def test_versions_that_are_not_the_newest_are_dropped_when_there_are_too_many(
    repository: ModelRepository,
) -> None:
    for divisor in (255.0, 300.0, 400.0, 500.0):
        publish(repository, divisor=divisor)
    models = LoadedModels(repository, max_idle=1)

    for version in (4, 1, 2, 3):
        models.get("base", version)

    assert models.loaded() == [("base", 3), ("base", 4)]
    assert models.get("base", 1).version == 1


def test_a_look_loads_the_newest_version_of_each_model(repository: ModelRepository) -> None:
    publish(repository)
    publish(repository, divisor=510.0)
    publish(repository, name="other")
    models = LoadedModels(repository)

    models.refresh()

    assert models.loaded() == [("base", 2), ("other", 1)]
    newest = models.at_hand("base")
    assert newest is not None
    assert newest.version == 2


def test_a_model_that_was_deleted_is_gone_after_the_next_look(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    models = LoadedModels(repository)
    models.refresh()
    store.delete_prefix("models/base")

    models.refresh()

    assert models.loaded() == []
    assert not models.is_ready("base")


def test_what_is_loaded_serves_on_while_the_store_is_away(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    models = LoadedModels(repository, max_age_seconds=0.0)
    models.get("base")
    store.away = True

    assert models.get("base").version == 1
    assert models.get("base", 1).version == 1
    with pytest.raises(Unavailable):
        models.get("other")
    with pytest.raises(Unavailable):
        models.is_ready("other")


def test_a_model_can_be_unloaded_while_the_store_is_away(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    models = LoadedModels(repository, max_age_seconds=0.0)
    models.get("base")
    store.away = True

    models.unload("base")

    assert models.loaded() == []
    assert not models.is_ready("base")
    with pytest.raises(Unavailable):
        models.load("base")


def test_a_failure_to_read_is_forgotten_when_the_store_is_back(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    models = LoadedModels(repository)
    assert models.versions("base") == (1,)
    store.away = True
    with pytest.raises(Unavailable):
        models.get("base", 1)
    store.away = False

    assert models.get("base", 1).version == 1


def test_a_version_published_while_watching_becomes_the_default(
    repository: ModelRepository,
) -> None:
    publish(repository)
    models = LoadedModels(repository, max_age_seconds=3600.0)
    with watching(models) as watcher:
        assert watcher.wait(30)
        assert models.get("base").version == 1

        publish(repository, divisor=510.0)

        waited = threading.Event()
        while models.get("base").version == 1:
            waited.wait(0.01)
    assert models.loaded() == [("base", 1), ("base", 2)]


def test_a_watcher_outlives_a_store_that_is_away(
    repository: ModelRepository, store: BreakableStore
) -> None:
    publish(repository)
    store.away = True
    models = LoadedModels(repository)

    with watching(models) as watcher:
        assert not watcher.wait(0.05)
        assert not watcher.has_looked
        store.away = False

        assert watcher.wait(30)
    assert models.loaded() == [("base", 1)]


def test_what_only_reads_cards_and_graphs_is_imported_when_one_is_read() -> None:
    script = (
        "import sys, parfocal_runtime.models.watcher, parfocal_runtime.models.publish;"
        "print(sorted({'onnx', 'bioimageio', 'torch'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.stdout.strip() == "[]"
