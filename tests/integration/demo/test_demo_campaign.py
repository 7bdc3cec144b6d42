from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from rich.console import Console
from typer.testing import CliRunner

from parfocal import Client, ConflictError, InvalidRequestError
from parfocal.cli._app import app
from parfocal_demo.running import run_settings
from parfocal_demo.settings import Settings
from parfocal_demo.volume import VolumeSpec, generate_volume
from parfocal_standalone import Standalone

QUIET = Console(quiet=True)

# Five models are trained, each in a process of its own.
pytestmark = pytest.mark.timeout(900)


def small(folder: Path, **changes: object) -> Settings:
    """A campaign that turns in seconds; its numbers mean nothing."""
    parameters: dict[str, object] = {
        "images": folder / "image.tif",
        "truth": folder / "truth.tif",
        "voxel_size_nm": (50.0, 10.0, 10.0),
        "rounds": 2,
        "budget": 5,
        "crops": 2,
        "crop_shape": (4, 96, 96),
        "augmentation": 4,
        "minimum_pixels": 12,
        "base_iterations": 40,
        "fine_tune_iterations": 3,
        "encoder_iterations": 5,
        "propagation_seeds": 2,
    }
    return Settings(**(parameters | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    volume = generate_volume(VolumeSpec(shape=(4, 160, 256), seed=1))
    tifffile.imwrite(folder / "image.tif", volume.image, photometric="minisblack")
    tifffile.imwrite(folder / "truth.tif", volume.mitochondria, photometric="minisblack")
    return folder


@pytest.fixture(scope="module")
def finished(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("campaign")
    run_settings(small(stack), out=out, console=QUIET)
    return out


def test_a_campaign_ends_with_its_three_files(finished: Path) -> None:
    record = json.loads((finished / "report.json").read_text())

    assert (finished / "report.html").stat().st_size > 50_000
    assert (finished / "learning_curve.png").exists()
    assert [arm["name"] for arm in record["arms"]] == ["two-stream", "random"]
    assert record["input"]["shape"] == [4, 160, 256]


def test_both_arms_buy_the_same_labels_and_learn_from_them(finished: Path) -> None:
    arms = json.loads((finished / "report.json").read_text())["arms"]

    for arm in arms:
        assert [turn["labels_total"] for turn in arm["rounds"]][:2] == [0, 5]
        own = f"base-{arm['name']}"
        assert [turn["model"] for turn in arm["rounds"]] == ["base/1", f"{own}/1", f"{own}/2"]


def test_the_errors_of_a_round_are_those_of_its_answers(finished: Path) -> None:
    two, random = json.loads((finished / "report.json").read_text())["arms"]

    # Of five questions of two-stream one is drawn at random, of those of random all are.
    for turn in (two["rounds"][1], random["rounds"][1]):
        right = turn["estimated_share"]["value"]
        assert turn["errors"]["random"]["value"] == pytest.approx(1 - right)
        assert turn["advice"].startswith("Too early to say")
    found = round(4 * two["rounds"][1]["errors"]["strategy"]["value"])
    found += round(two["rounds"][1]["errors"]["random"]["value"])
    assert found == 5 - two["rounds"][1]["answered_true"]
    assert random["rounds"][1]["errors"]["ratio"]["value"] is None


def test_every_answer_agrees_with_the_truth(finished: Path) -> None:
    shown = json.loads((finished / "report.json").read_text())["suggestions"]

    rounds = [one["round"] for one in shown]
    assert rounds.count(1) == 5
    assert 2 in rounds
    assert all((one["answer"] == "true") == one["correct"] for one in shown)


def test_the_random_arm_of_propagation_corrects_only_what_it_looked_at(finished: Path) -> None:
    record = json.loads((finished / "report.json").read_text())
    random, *_ = record["propagation"]["methods"]
    share, count = record["pool"]["correct_share"]["value"], record["pool"]["candidates"]

    assert random["labels"] == [5, 5]
    for accuracy in random["accuracy"]:
        assert share <= accuracy <= share + 5 / count + 1e-9


def test_the_learned_model_stands_beside_its_control(finished: Path) -> None:
    *_, learned, control = json.loads((finished / "report.json").read_text())["propagation"][
        "methods"
    ]

    assert (learned["name"], control["name"]) == ("learned", "confidence-and-area")
    assert learned["labels"] == control["labels"]


def test_labels_of_a_round_are_carried_by_the_command_line(finished: Path, tmp_path: Path) -> None:
    with Standalone(finished / "data") as server:
        words = [
            "labels", "propagate", "demo", "--round", "random-1", "--error-rate", "0.5",
            "--out", str(tmp_path / "verdicts.csv"), "--data-dir", str(server.data_dir),
        ]  # fmt: skip
        shown = CliRunner().invoke(app, words)
        told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
        with Client(server.address, token=server.token) as client:
            answered = [
                each
                for each in client.labels.consensus("demo", decided_only=True)
                if each.candidate_set == "first"
            ]

    labelled = {each.candidate for each in answered}
    drawn = {each.candidate for each in answered if each.role == "random"}
    with (tmp_path / "verdicts.csv").open() as stream:
        rows = {int(row["candidate"]): row for row in csv.DictReader(stream)}
    assert shown.exit_code == 0, shown.stderr
    assert f"{len(rows)}, {len(labelled)} of them labelled" in shown.stdout
    assert told["errors_left"]["checked"] == len(drawn) >= 5
    assert {rows[each]["decision"] for each in labelled} <= {"accept", "reject"}
    assert {row["decision"] for row in rows.values()} <= {"accept", "reject", "look"}


def test_running_again_finds_everything_and_makes_nothing_twice(
    finished: Path, stack: Path
) -> None:
    before = sorted(path for path in (finished / "data" / "store").rglob("*") if path.is_file())
    record = json.loads((finished / "report.json").read_text())
    run_settings(small(stack), out=finished, console=QUIET)
    again = json.loads((finished / "report.json").read_text())

    assert before == sorted(p for p in (finished / "data" / "store").rglob("*") if p.is_file())
    assert again["arms"] == record["arms"]
    assert again["propagation"] == record["propagation"]
    assert "taken up again" in again["notes"][-1]


def test_another_campaign_in_the_same_folder_is_refused(finished: Path, stack: Path) -> None:
    with pytest.raises(ConflictError, match="budget"):
        run_settings(small(stack, budget=6), out=finished, console=QUIET)


def test_an_image_without_truth_in_the_training_part_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "image.tif", np.full((2, 64, 64), 99, np.uint8), photometric="minisblack"
    )
    tifffile.imwrite(
        tmp_path / "truth.tif", np.zeros((2, 64, 64), np.uint8), photometric="minisblack"
    )

    with pytest.raises(InvalidRequestError, match="no foreground"):
        run_settings(small(tmp_path), out=tmp_path / "out", console=QUIET)
