from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parfocal_runtime.box import Box
from parfocal_runtime.errors import InvalidInput, WrongState
from parfocal_runtime.store import LocalStore
from parfocal_training.candidates import open_candidates, read_judgements
from parfocal_training.regions import read_regions, require_both_sides
from parfocal_training.sampling import WindowSampler
from parfocal_training.verdicts import ReplayMixture, Verdict, paint, verdict_regions
from training_lab import (
    CANDIDATES,
    SET,
    SHAPE,
    SNAPSHOT,
    TrainingLab,
    box_of,
    labelled,
    write_snapshot,
)

BLOCK = Box((0, 0, 0), (1, 4, 8))


@pytest.fixture
def lab(tmp_path: Path) -> TrainingLab:
    return TrainingLab(LocalStore(tmp_path))


def objects() -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    block = np.zeros(BLOCK.shape, dtype=np.uint32)
    block[0, 1:3, 1:3] = 1
    block[0, 1:3, 4:6] = 2
    return block


def test_a_true_proposal_is_truth_inside_its_box() -> None:
    box = Box((0, 0, 0), (1, 4, 5))

    target, valid = paint(objects(), BLOCK, [Verdict(1, box, True)])

    assert target.sum() == 4
    assert target[0, 1:3, 1:3].all()
    # 20 voxels of the box, less the two of the other proposal that reaches in.
    assert valid.sum() == 18
    assert not valid[..., 5:].any()


def test_a_false_proposal_is_background_there() -> None:
    target, valid = paint(objects(), BLOCK, [Verdict(2, Box((0, 1, 4), (1, 3, 6)), False)])

    assert not target.any()
    assert valid.sum() == 4
    assert valid[0, 1:3, 4:6].all()


def test_verdicts_that_overlap_do_not_disturb_each_other() -> None:
    box = Box((0, 0, 0), (1, 4, 8))
    both = [Verdict(1, box, True), Verdict(2, box, False)]

    forward, backward = paint(objects(), BLOCK, both), paint(objects(), BLOCK, both[::-1])

    np.testing.assert_array_equal(forward, backward)
    assert forward[0].sum() == 4
    assert forward[1].all()


def test_a_verdict_elsewhere_says_nothing() -> None:
    _, valid = paint(objects(), BLOCK, [Verdict(1, Box((5, 0, 0), (6, 4, 4)), True)])

    assert not valid.any()


def test_each_verdict_becomes_a_region_that_knows_its_neighbours(lab: TrainingLab) -> None:
    judged = read_judgements(lab.store, [SNAPSHOT], [open_candidates(lab.store, SET)])

    regions = verdict_regions(lab.store, judged, (4, 48, 48))

    assert len(regions) == CANDIDATES
    for region, judgement in zip(regions, judged, strict=True):
        assert region.target[region.core.slices].all() == judgement.verdict
    true = sum(judgement.verdict for judgement in judged)
    assert regions[0].target.sum() == 64 * true


def test_a_later_snapshot_counts_and_ties_are_left_out(lab: TrainingLab) -> None:
    write_snapshot(lab.store, [None, False, True], "projects/demo/snapshots/later.parquet")
    sets = [open_candidates(lab.store, SET)]

    judged = read_judgements(lab.store, [SNAPSHOT, "projects/demo/snapshots/later.parquet"], sets)

    assert [judgement.verdict for judgement in judged[:3]] == [False, False, True]


def test_snapshots_without_verdicts_on_these_sets_are_too_few_labels(lab: TrainingLab) -> None:
    write_snapshot(lab.store, [None, None], "projects/demo/snapshots/ties.parquet")

    with pytest.raises(WrongState) as caught:
        read_judgements(
            lab.store,
            ["projects/demo/snapshots/ties.parquet"],
            [open_candidates(lab.store, SET)],
        )

    assert caught.value.reason == "ERROR_REASON_TOO_FEW_LABELS"


def test_a_snapshot_of_candidates_that_do_not_exist_is_refused(lab: TrainingLab) -> None:
    write_snapshot(lab.store, [True] * (CANDIDATES + 1), "projects/demo/snapshots/long.parquet")

    with pytest.raises(InvalidInput):
        read_judgements(
            lab.store,
            ["projects/demo/snapshots/long.parquet"],
            [open_candidates(lab.store, SET)],
        )


@pytest.mark.parametrize(("share", "replayed"), [(0.25, 10), (0.0, 0), (1.0, 40), (0.1, 4)])
def test_the_share_of_replayed_windows_is_exact(
    lab: TrainingLab, share: float, replayed: int
) -> None:
    window = (2, 16, 16)
    fresh = WindowSampler(read_regions(lab.store, [labelled()], window, field="regions"), window)
    replay = WindowSampler(fresh.regions, window)
    mixture = ReplayMixture(fresh, replay, share)

    for _ in range(10):
        mixture.batch(4, np.random.default_rng(0))

    assert replay.statistics.drawn == replayed
    assert fresh.statistics.drawn == 40 - replayed


def test_windows_stay_inside_the_labelled_boxes(lab: TrainingLab) -> None:
    box = Box((1, 8, 8), (3, 24, 24))

    (region,) = read_regions(lab.store, [labelled(box)], (2, 8, 8), field="regions")

    assert region.valid.sum() == box.voxels
    np.testing.assert_array_equal(region.target[region.core.slices], lab.truth[box.slices])


def test_labels_of_one_side_only_are_too_few(lab: TrainingLab) -> None:
    regions = read_regions(lab.store, [labelled(box_of(0))], (1, 8, 8), field="regions")

    with pytest.raises(WrongState) as caught:
        require_both_sides(regions)

    assert caught.value.metadata["cause"] == "no background"


def test_a_box_outside_the_image_is_refused(lab: TrainingLab) -> None:
    box = Box((0, 0, 0), (SHAPE[0] + 1, 8, 8))

    with pytest.raises(InvalidInput) as caught:
        read_regions(lab.store, [labelled(box)], (1, 8, 8), field="regions")

    assert caught.value.metadata["field"] == "regions.box"
