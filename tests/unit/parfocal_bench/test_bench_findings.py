from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from parfocal import InvalidRequestError
from parfocal_bench import run, run_protocol
from parfocal_bench.findings import ArmFindings, Findings
from toy_campaign import ToyProtocol


def silent(done: int, total: int, line: str) -> None:
    del done, total, line


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    folder = tmp_path_factory.mktemp("toy")
    toy = ToyProtocol(folder / "ran")
    return run_protocol(toy, out=folder, seeds=3, workers=0, progress=silent)


def arm(findings: Findings, name: str) -> ArmFindings:
    return next(arm for arm in findings.arms if arm.name == name)


def test_arms_are_compared_with_random_of_the_same_seed(
    toy_run: tuple[Findings, Path],
) -> None:
    findings, _ = toy_run

    good = arm(findings, "good")

    # Lifts of 0, .05 and .1 at 10, 20 and 40 labels, and a tenth more with each seed.
    mean = 1.1 * (10 * 0.025 + 20 * 0.075) / 30
    assert good.differences["linear"].value == pytest.approx(mean)
    assert good.differences["linear"].low > 0
    assert good.verdict == "better"
    assert good.ahead == 3
    assert arm(findings, "bad").verdict == "worse"
    assert [one.name for one in findings.arms] == ["random", "good", "bad"]


def test_savings_are_those_of_the_mean_curves(toy_run: tuple[Findings, Path]) -> None:
    findings, _ = toy_run

    good, bad = arm(findings, "good").saving, arm(findings, "bad").saving

    # Random's last value, .8, lies between .6 + .1 + .055 at 20 and .6 + .2 + .11 at 40.
    assert good.value == pytest.approx(1 - (20 + 20 * (0.8 - 0.755) / 0.155) / 40)
    assert good.low <= good.value <= good.high
    assert math.isnan(bad.value)
    assert "never reached" in bad.reason


def test_a_model_that_was_not_taught_enough_is_named(toy_run: tuple[Findings, Path]) -> None:
    findings, _ = toy_run

    assert findings.warnings == [
        "bad: after 3 of 9 lessons the network knows less than 90% of its own labels, at worst 85% "
        "(seed 0, 20 labels)"
    ]


def test_the_report_says_what_may_be_claimed(toy_run: tuple[Findings, Path]) -> None:
    _, page = toy_run
    text, table = page.read_text(), (page.parent / "report.md").read_text()

    for said in ("good is better than random by +.064", "bad loses to random by −.064"):
        assert said in text
        assert said in table
    assert "at worst 85% (seed 0, 20 labels)" in text
    assert "never gets there" in table
    assert text.count("<svg") == 2


def test_every_row_is_there_for_other_programs(toy_run: tuple[Findings, Path]) -> None:
    _, page = toy_run
    with (page.parent / "rows.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    report = json.loads((page.parent / "report.json").read_text())

    assert len(rows) == 3 * 3 * 3
    assert float(rows[0]["auc"]) == 0.6
    assert [one["name"] for one in report["arms"]] == ["random", "good", "bad"]
    assert (page.parent / "curves.png").stat().st_size > 0
    assert (page.parent / "differences.png").stat().st_size > 0


def test_random_is_run_beside_any_arm(tmp_path: Path) -> None:
    toy = ToyProtocol(tmp_path / "ran")

    findings, _ = run_protocol(toy, out=tmp_path, arms=["bad"], seeds=2, workers=0, progress=silent)

    assert [one.name for one in findings.arms] == ["random", "bad"]


def test_what_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no campaign 'moon'; there are cifar10-network"):
        run("moon", packs=tmp_path, out=tmp_path, progress=silent)
    with pytest.raises(InvalidRequestError, match="no arm 'worst'; there are random, good, bad"):
        run_protocol(ToyProtocol(tmp_path), out=tmp_path, arms=["worst"], progress=silent)
    with pytest.raises(InvalidRequestError, match=r"train\.npz is not there"):
        run("malaria-probe", packs=tmp_path, out=tmp_path, progress=silent)
