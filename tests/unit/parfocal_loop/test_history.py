from __future__ import annotations

import numpy as np

from parfocal_loop.history import PlacedBoxes, seen_before


def placed(*boxes: tuple[int, ...], images: list[str] | None = None) -> PlacedBoxes:
    names = images or ["a"] * len(boxes)
    return PlacedBoxes(
        ids=np.arange(len(boxes), dtype=np.int64),
        images=np.array(names, dtype=np.str_),
        boxes=np.array(boxes, dtype=np.int64).reshape(-1, 6),
    )


def test_a_box_that_mostly_overlaps_a_judged_one_was_seen() -> None:
    pool = placed((0, 0, 0, 1, 10, 10), (0, 50, 50, 1, 60, 60))
    judged = placed((0, 0, 1, 1, 10, 11))

    assert seen_before(pool, judged).tolist() == [0]


def test_the_same_box_in_another_section_was_not_seen() -> None:
    pool = placed((1, 0, 0, 2, 10, 10))

    assert seen_before(pool, placed((0, 0, 0, 1, 10, 10))).tolist() == []


def test_the_same_box_in_another_image_was_not_seen() -> None:
    pool = placed((0, 0, 0, 1, 10, 10), images=["b"])

    assert seen_before(pool, placed((0, 0, 0, 1, 10, 10))).tolist() == []


def test_exactly_the_wanted_overlap_counts() -> None:
    pool = placed((0, 0, 0, 1, 1, 2))

    assert seen_before(pool, placed((0, 0, 0, 1, 1, 1)), overlap=0.5).tolist() == [0]


def test_nothing_judged_means_nothing_seen() -> None:
    assert seen_before(placed((0, 0, 0, 1, 1, 1)), placed()).tolist() == []


def test_a_pool_larger_than_a_batch_is_seen_whole() -> None:
    boxes = [(0, 0, 2 * i, 1, 1, 2 * i + 1) for i in range(9000)]

    seen = seen_before(placed(*boxes), placed(boxes[0], boxes[5000], boxes[8999]))

    assert seen.tolist() == [0, 5000, 8999]
