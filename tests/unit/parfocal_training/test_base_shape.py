from __future__ import annotations

import pytest

from parfocal_runtime.box import Box
from parfocal_training.spec import LabelledBox, UNetShape, shape_for


def boxes(*depths: int) -> list[LabelledBox]:
    return [LabelledBox("i", "t", Box((3, 0, 0), (3 + depth, 128, 128))) for depth in depths]


@pytest.mark.parametrize(
    ("depths", "sections"), [((1, 1), 1), ((1, 3), 3), ((4, 4), 4), ((20,), 4)]
)
def test_a_window_is_no_deeper_than_what_is_labelled(
    depths: tuple[int, ...], sections: int
) -> None:
    assert shape_for(boxes(*depths)).window == (sections, 128, 128)


def test_sections_are_not_mixed_unless_it_is_asked_for() -> None:
    assert shape_for(boxes(4)) == UNetShape()
    assert shape_for(boxes(4), widths=(8, 16, 32)).isotropy == (False, False, False)


def test_what_the_caller_asks_for_is_kept() -> None:
    wanted = UNetShape(widths=(4, 8), isotropy=(False, True), window=(5, 16, 16))

    assert shape_for(boxes(1), widths=(4, 8), isotropy=(False, True), window=(5, 16, 16)) == wanted


@pytest.mark.parametrize(("sections", "windows"), [(1, 4), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_thin_windows_come_in_numbers(sections: int, windows: int) -> None:
    assert UNetShape(window=(sections, 96, 96)).windows == windows


def test_wide_windows_are_learned_from_piece_by_piece() -> None:
    assert UNetShape().training_window == (4, 96, 96)
    assert UNetShape(window=(2, 48, 200)).training_window == (2, 48, 96)
