from __future__ import annotations

import numpy as np

from parfocal_demo.artifacts import judge


def test_a_candidate_is_judged_in_its_own_box_and_section() -> None:
    objects = np.zeros((2, 6, 8), np.uint32)
    truth = np.zeros((2, 6, 8), bool)
    objects[0, 1:3, 1:5] = 1
    objects[1, 1:3, 1:5] = 2
    truth[0, 1:3, 1:4] = True
    boxes = np.array([[0, 1, 1, 1, 3, 5], [1, 1, 1, 2, 3, 5]])

    assert judge(objects, truth, boxes).tolist() == [True, False]


def test_a_neighbour_in_the_box_does_not_count_as_the_candidate() -> None:
    objects = np.zeros((1, 4, 6), np.uint32)
    objects[0, 0, :] = 1
    objects[0, 3, 0] = 1
    objects[0, 1:3, 1:6] = 2
    truth = objects == 2
    boxes = np.array([[0, 0, 0, 1, 4, 6], [0, 1, 1, 1, 3, 6]])

    assert judge(objects, truth, boxes).tolist() == [False, True]


def test_no_candidates_give_no_verdicts() -> None:
    empty = np.zeros((1, 2, 2), np.uint32)

    assert judge(empty, empty > 0, np.empty((0, 6), np.int64)).shape == (0,)
