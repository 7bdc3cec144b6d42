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
    names = {name for _, name in SELECTIONS}
    assert names == {
        "acft", "bald", "clasp-pe", "class-random", "core-set", "entropy", "foreground-random",
        "learning-loss", "limited", "margin", "power-bald", "probcover", "random", "sequence",
        "shares",
    }  # fmt: skip


@pytest.mark.parametrize(("release", "name"), SELECTIONS)
def test_a_selection_of_an_earlier_release_replays_or_the_notes_say_why_not(
    release: str, name: str, tmp_path: Path
) -> None:
    shutil.copytree(STORED / release, tmp_path / "store")
    store = open_store((tmp_path / "store").as_uri())
    record = load(store, "stored", name).record

    again = replay(store, "stored", name, cancel=CancelFlag())

    versions = {record.strategy: record.version, **record.inner_versions}
    raised = {name for name in versions if STRATEGIES[name].version != versions[name]}
    if not raised:
        assert again.differences == []
    # Other picks are allowed to a new version, if a reader of the notes hears of it.
    for strategy in raised if not again.identical else ():
        said = f"Selections by `{strategy}` of version {versions[strategy]} do not replay"
        assert said in CHANGELOG
