from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from parfocal_bench import networks
from parfocal_bench.classification import Schedule
from parfocal_bench.fine_tuning import FineTuning, Lessons
from parfocal_bench.networks import (
    Network,
    as_tensor,
    new_network,
    predict,
    predict_views,
    turned,
)
from parfocal_bench.packs import open_pack
from parfocal_bench.protocol import Row

LESSONS = Lessons(
    first_steps=8,
    steps=4,
    batch=8,
    wanted_accuracy=0.0,
    part_steps=2,
    least_parts=2,
    most_parts=3,
    gentle_accuracy=0.0,
)


@pytest.fixture
def campaign(small_packs: Path) -> FineTuning:
    return FineTuning(small_packs, "malaria", 60, Schedule(20, 10, 2), LESSONS)


def sizes(rows: list[Row], name: str) -> list[float]:
    return [row.values[name] for row in rows]


def run(campaign: FineTuning, arm: str, cache: Path) -> list[Row]:
    campaign.prepare(cache)
    return list(campaign.run(arm, 0, cache))


def test_every_way_of_learning_teaches_what_it_says(campaign: FineTuning, tmp_path: Path) -> None:
    curves = {arm: run(campaign, arm, tmp_path) for arm in ("random", "acft-q", "acft-hq", "aft")}

    for rows in curves.values():
        assert sizes(rows, "size_l") == [0, 20, 30]
        assert sizes(rows, "size_q") == [20, 10, 10]
        assert sizes(rows, "size_h")[0] == 0
        assert all(0 <= value <= 1 for value in sizes(rows, "own_accuracy"))
    assert sizes(curves["random"], "taught") == [20, 30, 40]
    assert sizes(curves["aft"], "taught") == [20, 30, 40]
    assert sizes(curves["acft-q"], "taught") == [20, 10, 10]
    hard = curves["acft-hq"]
    assert sizes(hard, "taught") == [
        h + q for h, q in zip(sizes(hard, "size_h"), sizes(hard, "size_q"), strict=True)
    ]
    assert sizes(curves["random"], "steps") == [8, 4, 4]
    assert sizes(curves["random"], "rate") == [3e-3, 2e-3, 2e-3]
    assert sizes(curves["aft"], "rate") == [3e-3, 3e-3, 3e-3]
    assert sizes(hard, "rate") == sizes(curves["acft-q"], "rate") == [3e-3, 1e-3, 1e-3]
    assert sizes(curves["aft"], "steps") == [8, 8, 8]


def test_the_first_lesson_of_a_seed_is_given_once(campaign: FineTuning, tmp_path: Path) -> None:
    first = run(campaign, "random", tmp_path)
    (kept,) = tmp_path.glob("first-*.npz")
    written = kept.stat().st_mtime_ns

    again = run(campaign, "entropy", tmp_path)

    assert kept.stat().st_mtime_ns == written
    assert list(tmp_path.glob("first-*.npz")) == [kept]
    assert again[0].values["auc"] == first[0].values["auc"]


def test_a_cell_comes_out_the_same_with_and_without_what_is_kept(
    campaign: FineTuning, tmp_path: Path
) -> None:
    first = run(campaign, "acft-hq", tmp_path / "one")
    kept = run(campaign, "acft-hq", tmp_path / "one")
    anew = run(campaign, "acft-hq", tmp_path / "two")

    assert [row.values["auc"] for row in first] == [row.values["auc"] for row in kept]
    assert [row.values["auc"] for row in first] == [row.values["auc"] for row in anew]


def test_a_lesson_goes_on_while_its_labels_are_not_known(
    campaign: FineTuning, tmp_path: Path
) -> None:
    strict = replace(campaign, lessons=replace(LESSONS, wanted_accuracy=1.1))

    rows = run(strict, "random", tmp_path)

    assert sizes(rows, "steps") == [8 + 3 * 4, 4 + 3 * 2, 4 + 3 * 2]


def test_a_lesson_that_leaves_labels_out_goes_on_until_all_are_known(
    campaign: FineTuning, tmp_path: Path
) -> None:
    short = replace(campaign, schedule=Schedule(20, 10, 1))
    strict = replace(short, lessons=replace(LESSONS, gentle_accuracy=1.1))

    easily, never = (run(one, "acft-hq", tmp_path) for one in (short, strict))

    assert sizes(easily, "steps") == [8, 2 * 2]
    assert sizes(never, "steps") == [8, 3 * 2]


def test_what_a_part_forgets_is_taught_in_the_next(
    campaign: FineTuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[np.ndarray] = []

    def forget(network: Network, images: torch.Tensor, labels: np.ndarray, **how: object) -> None:
        """Say 0 of everything afterwards: what a real lesson forgets cannot be foreseen."""
        taught.append(labels)
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_(torch.tensor([1.0, 0.0]))

    monkeypatch.setattr(networks, "teach", forget)
    run(replace(campaign, schedule=Schedule(20, 10, 1)), "acft-hq", tmp_path)

    first, *parts = taught
    assert len(parts) == 2
    for labels in parts:
        fresh_zeros = np.count_nonzero(labels == 0)
        assert fresh_zeros <= 10
        assert len(labels) == np.count_nonzero(first == 1) + 10


def test_a_view_that_is_wrong_makes_a_candidate_hard(
    campaign: FineTuning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_view_wrong(network: Network, images: torch.Tensor) -> np.ndarray:
        """Give what no trained network can be made to give: 0 of seven views, 1 of the last."""
        views = np.tile(np.array([0.9, 0.1], np.float32), (len(images), 8, 1))
        views[:, 7] = views[:, 7, ::-1]
        return views

    monkeypatch.setattr(networks, "predict_views", one_view_wrong)
    rows = run(campaign, "acft-hq", tmp_path)

    assert sizes(rows, "size_h") == [0, 20, 30]
    assert all(0 < known < 1 for known in sizes(rows, "own_accuracy"))


def test_pictures_of_ten_classes_are_learnt_anew_each_round(
    small_packs: Path, tmp_path: Path
) -> None:
    campaign = FineTuning(
        small_packs, "cifar10", 100, Schedule(20, 20, 1), LESSONS, network="resnet"
    )

    for arm in campaign.arms():
        rows = run(campaign, arm, tmp_path)
        assert [row.labels for row in rows] == [20, 40]
        assert sizes(rows, "steps") == [8, 8]


def test_the_views_of_a_candidate_are_its_turns_and_mirrors(small_packs: Path) -> None:
    images = as_tensor(open_pack(small_packs, "malaria").train.images[:3])
    network = new_network("small", channels=1, classes=2, seed=0)
    expected = [
        predict(network, torch.rot90(view, turn, (2, 3)))[0]
        for turn in range(4)
        for view in (images, images.flip(3))
    ]

    views = predict_views(network, images)

    assert views.shape == (3, 8, 2)
    np.testing.assert_allclose(np.sort(views, axis=1), np.sort(np.stack(expected, 1), axis=1))


def test_turning_keeps_the_pixels_of_each_picture() -> None:
    images = torch.arange(2 * 16, dtype=torch.float32).reshape(2, 1, 4, 4)

    found = turned(images, np.random.default_rng(1))

    assert not torch.equal(found, images)
    assert torch.equal(found.flatten(1).sort().values, images.flatten(1).sort().values)
