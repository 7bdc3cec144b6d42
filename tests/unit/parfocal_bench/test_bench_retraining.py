from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from parfocal import InvalidRequestError
from parfocal_bench import run
from parfocal_bench.classification import Schedule
from parfocal_bench.epochs import Trainer
from parfocal_bench.latents import latents
from parfocal_bench.networks import as_tensor, new_network, predict
from parfocal_bench.packs import open_pack
from parfocal_bench.protocol import Row
from parfocal_bench.recipes import Autoencoder, Recipe
from parfocal_bench.retraining import Retraining

SHORT = Recipe(epochs=2, batch=8, low_from=1)
COARSE = Autoencoder(epochs=1, widths=(8, 8), latent=3)


@pytest.fixture
def campaign(small_packs: Path) -> Retraining:
    return Retraining(
        small_packs, "cifar10", 100, Schedule(20, 20, 1), SHORT, COARSE, network="resnet"
    )


def curve(campaign: Retraining, arm: str, cache: Path) -> list[Row]:
    campaign.prepare(cache)
    return list(campaign.run(arm, 0, cache))


def silent(done: int, total: int, line: str) -> None:
    del done, total, line


def test_every_arm_is_trained_from_scratch_by_epochs(campaign: Retraining, tmp_path: Path) -> None:
    curves = {arm: curve(campaign, arm, tmp_path) for arm in campaign.arms()}

    for rows in curves.values():
        assert [row.labels for row in rows] == [20, 40]
        assert [row.values["steps"] for row in rows] == [20 * 2 // 8, 40 * 2 // 8]
        assert rows[0].values["accuracy"] == curves["random"][0].values["accuracy"]
    assert len(list(tmp_path.glob("first-*.npz"))) == 1
    assert len(list(tmp_path.glob("latents-*.npz"))) == 1


def test_a_cell_of_retraining_comes_out_the_same_again(
    campaign: Retraining, tmp_path: Path
) -> None:
    first = curve(campaign, "two-stream", tmp_path / "one")
    again = curve(campaign, "two-stream", tmp_path / "two")

    assert [row.values["auc"] for row in first] == [row.values["auc"] for row in again]


def test_two_classes_of_pictures_are_learnt(small_packs: Path) -> None:
    pack = open_pack(small_packs, "cifar10")
    rows = np.flatnonzero(np.isin(pack.train.labels, (0, 9)))
    images = as_tensor(pack.train.images)
    network = new_network("resnet", channels=3, classes=10, seed=0)

    steps = Trainer(network, images, pack.train.labels, Recipe(epochs=20, batch=16)).train(
        rows, np.random.default_rng(0)
    )

    assert steps == 20 * len(rows) // 16
    found = predict(network, images[rows])[0].argmax(axis=1)
    assert np.mean(found == pack.train.labels[rows]) > 0.9


def test_the_network_of_eighteen_layers_has_its_usual_size() -> None:
    network = new_network("resnet18", channels=3, classes=10, seed=0)

    probabilities, features = predict(network, torch.zeros(1, 3, 32, 32))

    # 11,173,962 in the form for pictures of 32 x 32 and ten classes.
    assert sum(weight.numel() for weight in network.parameters()) == 11_173_962
    assert probabilities.shape == (1, 10)
    assert features.shape == (1, 512)


def test_latents_tell_shades_apart(small_packs: Path) -> None:
    pack = open_pack(small_packs, "cifar10")
    config = Autoencoder(latent=2, widths=(8, 8), epochs=3, batch=32)

    found = latents(as_tensor(pack.train.images), config, seed=0)

    assert found.shape == (160, 2)
    dark, light = (found[pack.train.labels == label] for label in (0, 9))
    apart = np.linalg.norm(dark.mean(axis=0) - light.mean(axis=0))
    assert apart > 3 * max(dark.std(axis=0).max(), light.std(axis=0).max())


@pytest.mark.parametrize(
    ("campaign_name", "fault"),
    [("malaria-probe", "works on the processor"), ("cifar10-resnet18", "no graphics card")],
)
def test_a_device_that_is_of_no_use_is_refused(
    small_packs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    campaign_name: str,
    fault: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", bool)  # also where there is a card

    with pytest.raises(InvalidRequestError, match=fault):
        run(
            campaign_name,
            packs=small_packs,
            out=tmp_path,
            workers=0,
            device="cuda",
            progress=silent,
        )


def test_another_device_makes_other_cells(campaign: Retraining) -> None:
    assert campaign.settings() != replace(campaign, device="cuda").settings()
