from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parfocal import ConflictError, InvalidRequestError
from parfocal_demo import run
from parfocal_demo.report.findings import Findings
from parfocal_demo.running import parse_split, summary_table
from parfocal_demo.settings import Folder, Settings


@pytest.mark.parametrize("text", ["x:0.6,0.7", "0.6,0.7", "x: .6, .7"])
def test_a_split_may_leave_its_axis_out(text: str) -> None:
    assert parse_split(text) == (0.6, 0.7)


@pytest.mark.parametrize("text", ["y:0.6,0.7", "0.6", "60,70", ""])
def test_a_split_that_is_not_one_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"x:0\.6,0\.7"):
        parse_split(text)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"split": (0.7, 0.6)}, "split"),
        ({"budget": 0}, "budget"),
        ({"rounds": 0}, "rounds"),
        ({"images": Path("a.tif")}, "truth"),
        ({"error_rate": 1.5}, "error_rate"),
    ],
)
def test_a_setting_that_cannot_be_is_named(wrong: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**wrong)  # type: ignore[arg-type]


def test_a_wrong_option_is_an_invalid_request(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="budget"):
        run(out=tmp_path, budget=0)


def test_a_folder_goes_on_with_the_same_campaign(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.claim(Settings(seed=3))
    folder.claim(Settings(seed=3))

    assert (tmp_path / "run" / "campaign.json").exists()


def test_a_folder_refuses_another_campaign_and_says_what_differs(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.claim(Settings(seed=3))

    with pytest.raises(ConflictError, match=r"seed.*--out"):
        folder.claim(Settings(seed=4))


def test_every_parameter_is_told_as_text() -> None:
    told = Settings(split=(0.5, 0.75)).as_text()

    assert told["split"] == "0.5 x 0.75"
    assert told["images"] == "not given"
    assert told["seed"] == "0"


def test_the_table_shows_the_base_model_once_and_every_round(
    findings_of: Callable[[], Findings],
) -> None:
    table = summary_table(findings_of())

    assert table.row_count == 5
    assert list(table.columns[1].cells) == ["0", "1", "2", "1", "2"]
