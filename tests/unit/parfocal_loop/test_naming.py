from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parfocal_loop.naming import derived, image_and_level, prediction_array
from parfocal_runtime.layout import checked_name


@given(st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True), st.binary())
def test_a_derived_name_is_a_name(label: str, part: bytes) -> None:
    name = derived(label.replace("..", "--"), part)

    assert checked_name(name, field="name") == name


def test_other_parts_give_another_name() -> None:
    assert derived("a", "b", "c") != derived("a", "bc")
    assert derived("a", "b") == derived("a", b"b")


@pytest.mark.parametrize(
    ("path", "image", "level"),
    [
        ("projects/p/images/cortex.ome.zarr/1", "cortex", "1"),
        ("elsewhere/cortex.zarr/s0", "cortex", "s0"),
        ("alone", "alone", "0"),
    ],
)
def test_an_image_and_its_level_are_read_from_the_path(path: str, image: str, level: str) -> None:
    assert image_and_level(path) == (image, level)


def test_a_prediction_lies_under_its_image_and_model() -> None:
    image = "projects/p/images/cortex.ome.zarr/1"
    path = prediction_array("p", image, "mito", 3)
    replaced = prediction_array("p", image, "mito", 3, edition="1a2b")
    of_views = prediction_array("p", image, "mito", 3, edition="1a2b", views=4)

    assert replaced == path.replace("/cortex/", "/cortex-1a2b/")
    assert of_views == path.replace("/cortex/", "/cortex-1a2b-4-views/")
    assert path == "projects/p/predictions/cortex/mito-3.ome.zarr/1"
