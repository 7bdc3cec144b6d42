"""A selection made by one release replays in the next, or the release notes say why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from parfocal_runtime.store import open_store
from parfocal_runtime.tasks import CancelFlag
from parfocal_suggestion.archive import load
from parfocal_suggestion.replay import replay
from parfocal_suggestion.strategies import STRATEGIES

STORED = Path(__file__).parent / "stored"
CHANGELOG = (Path(__file__).parents[3] / "CHANGELOG.md").read_text()
SELECTIONS = sorted(
    (path.relative_to(STORED).parts[0], path.stem)
    for path in STORED.glob("*/projects/stored/selections/*.parquet")
    if "-cells-" not in path.stem
)


def test_there_are_stored_selections() -> None:
    assert {name for _, name in SELECTIONS} >= {"random", "core-set", "entropy"}


@pytest.mark.parametrize(("release", "name"), SELECTIONS)
def test_a_selection_of_an_earlier_release_replays_or_the_notes_say_why_not(
    release: str, name: str, tmp_path: Path
) -> None:
    shutil.copytree(STORED / release, tmp_path / "store")
    store = open_store((tmp_path / "store").as_uri())
    record = load(store, "stored", name).record

    again = replay(store, "stored", name, cancel=CancelFlag())

    if record.version == STRATEGIES[record.strategy].version:
        assert again.differences == []
    else:
        # Other picks are allowed to a new version, if a reader of the notes hears of it.
        said = f"Selections by `{record.strategy}` of version {record.version} do not replay"
        assert again.identical or said in CHANGELOG
