from __future__ import annotations

from pathlib import Path

import pytest

from onnx_graphs import base_model, base_model_card
from parfocal_runtime.errors import NotFound
from parfocal_runtime.models.config_pbtxt import read_config
from parfocal_runtime.models.loaded import LoadedModels
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.models.version_policy import kept, served
from parfocal_runtime.store import LocalStore


@pytest.mark.parametrize(
    ("text", "may_serve", "stay"),
    [
        ("", (1, 2, 5), (5,)),
        ("version_policy { latest {} }", (5,), (5,)),
        ("version_policy { latest { num_versions: 2 } }", (2, 5), (2, 5)),
        ("version_policy { all {} }", (1, 2, 5), (1, 2, 5)),
        ("version_policy { specific { versions: [ 5, 1, 9 ] } }", (1, 5), (1, 5)),
    ],
)
def test_a_policy_says_which_versions_serve_and_which_stay(
    text: str, may_serve: tuple[int, ...], stay: tuple[int, ...]
) -> None:
    policy = read_config(text.encode()).version_policy

    assert served((1, 2, 5), policy) == may_serve
    assert kept((1, 2, 5), policy) == stay


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    repository = ModelRepository(LocalStore(tmp_path))
    for _ in range(3):
        publish(repository)
    return repository


def publish(repository: ModelRepository) -> int:
    divisor = 255.0 + len(repository.versions("base"))
    card = base_model_card(divisor=divisor)
    return repository.publish("base", base_model(divisor=divisor), card=card, lineage={})


def set_policy(tmp_path: Path, text: str) -> None:
    config = tmp_path / "models/base/config.pbtxt"
    config.write_text(config.read_text() + f"\nversion_policy {{ {text} }}\n")


def test_without_a_policy_the_newest_is_loaded_and_older_ones_on_request(
    repository: ModelRepository,
) -> None:
    models = LoadedModels(repository)
    models.refresh()

    assert models.loaded() == [("base", 3)]
    assert models.get("base", 1).version == 1


def test_all_versions_of_a_policy_are_loaded_side_by_side_and_stay(
    repository: ModelRepository, tmp_path: Path
) -> None:
    set_policy(tmp_path, "all {}")
    models = LoadedModels(repository, max_idle=0)

    models.refresh()

    assert models.loaded() == [("base", 1), ("base", 2), ("base", 3)]
    assert models.get("base").version == 3


def test_a_version_outside_the_policy_is_not_there(
    repository: ModelRepository, tmp_path: Path
) -> None:
    set_policy(tmp_path, "specific { versions: [ 2 ] }")
    models = LoadedModels(repository)
    models.refresh()

    assert models.get("base").version == 2
    assert models.versions("base") == (2,)
    assert [entry.version for entry in models.index()] == [2]
    with pytest.raises(NotFound):
        models.get("base", 3)


def test_a_new_version_pushes_the_oldest_of_the_latest_out(
    repository: ModelRepository, tmp_path: Path
) -> None:
    set_policy(tmp_path, "latest { num_versions: 2 }")
    models = LoadedModels(repository, max_age_seconds=0.0)
    models.refresh()
    assert models.loaded() == [("base", 2), ("base", 3)]

    publish(repository)
    models.refresh()

    assert models.loaded() == [("base", 3), ("base", 4)]
    with pytest.raises(NotFound):
        models.get("base", 2)


def test_a_policy_that_was_changed_counts_when_the_model_is_loaded_again(
    repository: ModelRepository, tmp_path: Path
) -> None:
    models = LoadedModels(repository)
    models.refresh()
    set_policy(tmp_path, "specific { versions: [ 1, 2 ] }")

    assert models.load("base").version == 2

    assert models.loaded() == [("base", 1), ("base", 2)]
