from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parfocal_suggestion.geometry import LEANING, bodies, geometry

Table = dict[str, NDArray[np.generic]]


def table(*boxes: tuple[int, int, int, int], source: int = 0) -> Table:
    """Square candidates of one section each: z, y, x and side."""
    z, y, x, side = np.array(boxes).T
    return {
        "source": np.full(len(z), source, np.int32),
        "z0": z,
        "z1": z + 1,
        "y0": y,
        "y1": y + side,
        "x0": x,
        "x1": x + side,
        "area": side * side // 2,
        "anisotropy": np.linspace(1, 2, len(z), dtype=np.float32),
        "mean_probability": np.linspace(0.5, 0.9, len(z), dtype=np.float32),
        "max_probability": np.ones(len(z), np.float32),
    }


def joined(*tables: Table) -> Table:
    return {name: np.concatenate([each[name] for each in tables]) for name in tables[0]}


def test_overlapping_boxes_of_successive_sections_are_one_body() -> None:
    found = bodies(table((0, 0, 0, 10), (1, 2, 1, 10), (2, 3, 3, 10), (2, 40, 40, 10)))

    assert found[0] == found[1] == found[2] != found[3]


def test_neither_a_gap_of_a_section_nor_a_touching_corner_joins() -> None:
    found = bodies(table((0, 0, 0, 10), (2, 0, 0, 10), (3, 8, 8, 10)))

    assert len(set(found)) == 3


def test_candidates_of_two_images_are_never_one_body() -> None:
    found = bodies(joined(table((0, 0, 0, 10)), table((1, 0, 0, 10), source=1)))

    assert found[0] != found[1]


def test_a_body_of_several_sections_goes_on_where_it_ends() -> None:
    deep = table((0, 0, 0, 10), (3, 0, 0, 10))
    deep["z1"] = np.array([3, 4])

    assert len(set(bodies(deep))) == 1


def test_the_order_of_candidates_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.integers(0, 60, (80, 4)) % [6, 60, 60, 12] + [0, 0, 0, 4]
    order = rng.permutation(80)
    straight = table(*map(tuple, boxes))
    shuffled = {name: column[order] for name, column in straight.items()}

    one, other = bodies(straight), bodies(shuffled)

    assert np.array_equal(one[order][:, None] == one[order], other[:, None] == other)
    assert np.allclose(geometry(straight).columns[order], geometry(shuffled).columns)


def test_a_candidate_that_goes_on_differs_from_one_that_does_not() -> None:
    found = geometry(table((0, 0, 0, 10), (1, 0, 0, 10), (5, 90, 90, 10))).columns

    overlap = found[:, 5]
    assert overlap[0] == overlap[1] > overlap[2]


def test_columns_that_are_missing_are_left_out() -> None:
    whole = table((0, 0, 0, 10), (1, 0, 0, 12))
    few = {name: whole[name] for name in ("area", "mean_probability", "max_probability")}

    assert geometry(whole).columns.shape == (2, 8)
    assert geometry(few).columns.shape == (2, 3)
    assert np.isfinite(geometry(few).columns).all()


def test_what_the_base_model_is_sure_of_is_leaned_to() -> None:
    few = {
        "area": np.full(3, 50),
        "mean_probability": np.array([0.6, 0.7, 0.9], np.float32),
        "max_probability": np.ones(3, np.float32),
    }

    leaning = geometry(few).leaning

    assert np.all(np.diff(leaning) > 0)
    assert leaning.std() == LEANING


def test_what_goes_on_is_leaned_to() -> None:
    alike = table((0, 0, 0, 10), (1, 0, 0, 10), (5, 90, 90, 10))
    alike["mean_probability"] = np.full(3, 0.8, np.float32)

    leaning = geometry(alike).leaning

    assert leaning[0] == leaning[1] > leaning[2]


def test_nothing_has_no_bodies() -> None:
    empty = {name: column[:0] for name, column in table((0, 0, 0, 10)).items()}

    assert bodies(empty).shape == (0,)
