from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from parfocal.cli._app import app
from parfocal_bench.classification import Schedule, draw_pool, scores
from parfocal_bench.drawn import DrawnTwoStream
from parfocal_bench.hog import Description, describe, hog
from parfocal_bench.packs import open_pack
from parfocal_bench.probe import LinearProbe, directions
from parfocal_suggestion.pool import Pool
from parfocal_suggestion.strategies.two_stream import TwoStream


@pytest.fixture
def probe(small_packs: Path) -> LinearProbe:
    return LinearProbe(
        small_packs, "malaria", candidates=120, schedule=Schedule(10, 10, 2), components=12
    )


def test_an_edge_votes_for_the_direction_of_its_gradient() -> None:
    upright = np.zeros((1, 32, 32), np.float32)
    upright[:, :, 16:] = 1

    standing, lying = (
        hog(images, 8).reshape(-1, 9).sum(axis=0)
        for images in (upright, upright.transpose(0, 2, 1))
    )

    assert standing.argmax() == 0  # the gradient runs along x
    assert set(np.argsort(lying)[-2:]) == {4, 5}  # 90 degrees lie between bins 4 and 5


def test_edges_are_told_apart_from_brightness() -> None:
    image = np.random.default_rng(0).random((1, 48, 48), np.float32)

    plain = hog(image, 8)

    assert np.allclose(hog(image + np.float32(0.4), 8), plain, atol=1e-3)
    assert plain.shape == (1, 5 * 5 * 4 * 9)
    assert hog(image, 16).shape == (1, 2 * 2 * 4 * 9)


def test_pictures_in_colour_have_tints() -> None:
    grey = np.full((2, 32, 32, 3), 90, np.uint8)
    red = grey.copy()
    red[..., 0] = 200

    told = describe(red, Description(shades=5))

    assert told.shape == (2, 3 * 3 * 36 + 5 + 4 * 4 * 3)
    assert not np.allclose(told[:, -48:], describe(grey, Description(shades=5))[:, -48:])


def test_a_patient_on_both_sides_of_the_border_is_refused(
    small_packs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "D_malaria_cells"
    shutil.copytree(small_packs / "D_malaria_cells", folder)
    shutil.copy(folder / "train.npz", folder / "test.npz")

    with pytest.raises(ValueError, match="C1, C2, C3 are in training and in test"):
        open_pack(tmp_path, "malaria")


def test_the_command_line_says_which_patients_are_on_both_sides(
    small_packs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "D_malaria_cells"
    shutil.copytree(small_packs / "D_malaria_cells", folder)
    shutil.copy(folder / "train.npz", folder / "test.npz")

    done = CliRunner().invoke(
        app,
        [
            "bench", "selection", "malaria-probe", "--data-packs", str(tmp_path),
            "--out", str(tmp_path / "out"), "--seeds", "2", "--workers", "0",
        ],
    )  # fmt: skip

    assert done.exit_code == 2
    assert done.stderr == (
        "error: the data pack cannot be used: malaria: C1, C2, C3 are in training and in test\n"
    )


def test_other_data_are_other_cells(probe: LinearProbe, tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    shutil.copytree(probe.packs, packs)
    same = replace(probe, packs=packs).settings()
    shutil.copy(packs / "D_malaria_cells/train.npz", packs / "D_malaria_cells/test.npz")

    assert same == probe.settings()
    assert replace(probe, packs=packs).settings() != probe.settings()


def test_features_are_prepared_alike_on_any_number_of_threads(
    probe: LinearProbe, tmp_path: Path
) -> None:
    prepared = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            probe.prepare(tmp_path / str(threads))
        prepared += [path.read_bytes() for path in (tmp_path / str(threads)).iterdir()]

    assert len(prepared) == 2
    assert prepared[0] == prepared[1]


def test_a_probe_that_is_not_shrunk_keeps_the_scale_of_its_columns(
    probe: LinearProbe, tmp_path: Path
) -> None:
    spreads = []
    for shrunk in (True, False):
        folder = tmp_path / str(shrunk)
        replace(probe, shrunk=shrunk).prepare(folder)
        with np.load(next(folder.iterdir())) as arrays:
            spreads.append(arrays["train"].std(axis=0))

    assert spreads[0][0] == pytest.approx(1, abs=1e-3)
    assert spreads[1][0] > 2
    assert np.allclose(spreads[1] / spreads[1][0], spreads[0], rtol=1e-3)


def test_directions_have_no_length() -> None:
    features = np.array([[3, 4], [0.6, 0.8], [0, 0]], np.float32)

    unit = np.array([[0.6, 0.8], [0.6, 0.8], [0, 0]])
    assert np.allclose(directions(features), unit)


def test_likeness_can_be_judged_by_direction(probe: LinearProbe, tmp_path: Path) -> None:
    by_direction = replace(probe, by_direction=True)
    probe.prepare(tmp_path)

    curves = [
        [row.values["auc"] for row in each.run("typiclust-cold", 3, tmp_path)]
        for each in (probe, by_direction)
    ]

    assert curves[0] != curves[1]
    assert probe.arms()["badge"] == by_direction.arms()["badge"]
    assert probe.arms()["random"] == by_direction.arms()["random"]


@pytest.mark.parametrize("data", ["malaria", "cifar10"])
def test_every_arm_of_a_seed_starts_alike_and_buys_alike(
    small_packs: Path, tmp_path: Path, data: str
) -> None:
    probe = LinearProbe(small_packs, data, 120, Schedule(20, 20, 2), components=12)
    probe.prepare(tmp_path)

    curves = {arm: probe.run(arm, 3, tmp_path) for arm in probe.arms()}

    first = {arm: rows[0].values[probe.metric] for arm, rows in curves.items()}
    assert all([row.labels for row in rows] == [20, 40, 60] for rows in curves.values())
    assert {first[arm] for arm in curves if arm != "typiclust-cold"} == {first["random"]}
    assert first["random"] > probe.chance
    assert all(0 <= row.values["rarest_class"] <= 0.5 for row in curves["random"])


def test_a_cell_depends_on_its_seed_alone(probe: LinearProbe, tmp_path: Path) -> None:
    probe.prepare(tmp_path)

    first, again, other = (
        [row.values["auc"] for row in probe.run("k-means", seed, tmp_path)] for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_the_pool_of_a_seed_is_drawn_without_labels(small_packs: Path) -> None:
    pictures = open_pack(small_packs, "malaria").train

    drawn = draw_pool(pictures, 100, seed=5)

    assert len(np.unique(drawn)) == 100
    assert np.array_equal(drawn, draw_pool(replace(pictures, labels=1 - pictures.labels), 100, 5))
    assert not np.array_equal(drawn, draw_pool(pictures, 100, seed=6))


def test_more_than_two_classes_are_scored_one_against_the_rest() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    sure = np.eye(3, dtype=np.float32)[labels]

    assert scores(sure, labels) == {"auc": 1.0, "accuracy": 1.0}
    assert scores(np.full((6, 3), 1 / 3, np.float32), labels)["auc"] == 0.5


def test_the_control_of_two_stream_takes_as_many_of_each_cell() -> None:
    rng = np.random.default_rng(0)
    streams = {"mask": rng.normal(size=(200, 2)), "image": rng.normal(size=(200, 5))}
    pool = Pool.of(np.arange(200), streams=streams, labelled=[1, 2, 3], verdicts=[True] * 3)

    central = TwoStream().select(pool, 30, seed=4)
    drawn = DrawnTwoStream().select(pool, 30, seed=4)

    assert np.array_equal(drawn.cells, central.cells)
    assert np.array_equal(drawn.cells[drawn.candidates], central.cells[central.candidates])
    assert len(np.unique(drawn.candidates)) == 30
    assert not np.isin(drawn.candidates, [1, 2, 3]).any()
    assert set(drawn.candidates) != set(central.candidates)


@pytest.mark.packs
def test_no_patient_of_the_malaria_pack_is_on_both_sides(data_packs: Path) -> None:
    pack = open_pack(data_packs, "malaria")

    assert pack.train.images.shape == (18353, 48, 48)
    assert len(np.unique(pack.train.groups)) == 137
    assert len(np.unique(pack.test.groups)) == 46
