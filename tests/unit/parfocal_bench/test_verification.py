from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from parfocal import ConflictError
from parfocal_bench.proposals import COLUMNS, Proposals, touching
from parfocal_bench.verification import CONTROL, METHODS, SHARES, at_least, known_to, verify
from parfocal_bench.verification_report import measure, plot, proposals_of, settings, tables
from parfocal_demo.settings import Folder, Settings

COUNT = 120


@pytest.fixture(scope="module")
def proposals() -> Proposals:
    """Bodies of six sections each, right or wrong as a whole; sure ones are mostly right."""
    rng = np.random.default_rng(2)
    body, section = np.divmod(np.arange(COUNT), 6)
    truth = (rng.random(20) < 0.6)[body]
    place = 40 * body + rng.integers(0, 3, COUNT)
    side = rng.integers(12, 18, COUNT)
    mean = np.clip(0.6 + 0.2 * truth + rng.normal(0, 0.15, COUNT), 0.5, 1).astype(np.float32)
    table = dict.fromkeys(COLUMNS, np.zeros(COUNT, np.int32)) | {
        "area": side * side,
        "mean_probability": mean,
        "max_probability": np.minimum(mean + 0.1, 1).astype(np.float32),
        "anisotropy": np.ones(COUNT, np.float32),
        "z0": section,
        "z1": section + 1,
        "y0": place,
        "y1": place + side,
        "x0": place,
        "x1": place + side,
    }
    streams = {
        name: rng.normal(size=(COUNT, width)).astype(np.float32)
        for name, width in (("mask", 5), ("image", 8))
    }
    return Proposals(table, streams, body.astype(np.int64), truth, 0.8)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_buys_what_the_shares_say_and_repeats(proposals: Proposals, method: str) -> None:
    rows = verify(proposals, method, 3, shares=(0.1, 0.2))

    assert [row.labels for row in rows] == [10, 20]
    assert all(0 <= row.values["accuracy"] <= 1 for row in rows)
    assert verify(proposals, method, 3, shares=(0.1,))[0].values == rows[0].values


def test_bodies_help_where_they_are_right_or_wrong_as_a_whole(proposals: Proposals) -> None:
    def mean(method: str) -> float:
        found = (verify(proposals, method, seed, shares=(0.2,))[0] for seed in range(5))
        return float(np.mean([row.values["accuracy"] for row in found]))

    assert mean("learned") > mean(CONTROL) + 0.05


def test_what_a_method_is_not_given_it_does_not_know(proposals: Proposals) -> None:
    whole = known_to(proposals, "learned").parts
    few = known_to(proposals, "learned, confidence and area only").parts

    assert set(whole) == {"geometry", "bodies", "embedding:mask", "embedding:image"}
    assert set(few) == {"geometry"}


def test_small_proposals_are_left_out_everywhere(proposals: Proposals) -> None:
    large = at_least(proposals, 200)

    kept = proposals.table["area"] >= 200
    assert 0 < len(large) == kept.sum() < COUNT
    assert np.array_equal(large.streams["image"], proposals.streams["image"][kept])


def test_proposals_come_back_from_their_file(proposals: Proposals, tmp_path: Path) -> None:
    proposals.save(tmp_path / "kept.npz")

    again = Proposals.load(tmp_path / "kept.npz")

    assert np.array_equal(again.table["area"], proposals.table["area"])
    assert np.array_equal(again.streams["mask"], proposals.streams["mask"])
    assert (again.recall, len(again)) == (0.8, COUNT)


def test_touching_candidates_are_one_body() -> None:
    objects = np.zeros((3, 4, 6), np.uint32)
    objects[0, 0, 0], objects[1, 1, 1], objects[2, 3, 5] = 1, 2, 3

    found = touching(objects)

    assert found[0] == found[1] != found[2]


def test_the_page_has_a_row_for_every_method(proposals: Proposals, tmp_path: Path) -> None:
    base = measure(proposals, seed=0, seeds=2)

    text = "\n".join(tables([base]))
    plot([base], tmp_path / "accuracy.svg")

    for method in METHODS:
        assert text.count(f"\n| {method} |") == 3
    assert len(base.curve(CONTROL, SHARES[0])) == 2
    assert (tmp_path / "accuracy.svg").stat().st_size > 10_000


def test_proposals_of_other_settings_are_not_taken_for_those_asked_for(
    proposals: Proposals, tmp_path: Path
) -> None:
    def asked(iterations: int) -> Settings:
        return settings(tmp_path / "pack", seed=0, sections=1, iterations=(iterations, 2))

    Folder(tmp_path).claim(asked(1))
    proposals.save(tmp_path / "proposals.npz")

    assert len(proposals_of(asked(1), tmp_path, Console(), keep_columns=False)) == COUNT
    with pytest.raises(ConflictError, match="base_iterations"):
        proposals_of(asked(5), tmp_path, Console(), keep_columns=False)
