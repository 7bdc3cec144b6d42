from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from parfocal_inference.candidates import (
    SCHEMA,
    Eligibility,
    SliceRule,
    candidate_rows,
    places,
    standing_sections,
)
from parfocal_inference.components import ComponentRule, Components, Connectivity, find_components
from parfocal_inference.components import labelled_blocks as blocks_of
from parfocal_runtime.box import Box

Map = npt.NDArray[np.uint8]
VOLUME = ComponentRule(connectivity=Connectivity.VOLUME_26, minimum_voxels=1)


def components_of(probability: Map, rule: ComponentRule = VOLUME) -> Components:
    z, y, x = probability.shape
    return find_components(
        lambda box: probability[box.slices], (z, y, x), rule=rule, block=(2, 4, 4)
    )


def tower(*areas: int) -> Map:
    """One object with so many voxels on each section."""
    probability = np.zeros((len(areas), 1, max(areas)), np.uint8)
    for z, area in enumerate(areas):
        probability[z, 0, :area] = 255
    return probability


@pytest.mark.parametrize(
    ("areas", "rule", "z"),
    [
        ((1, 3, 2, 1, 1), SliceRule.LARGEST_AREA, 1),
        ((1, 3, 3, 1, 1), SliceRule.LARGEST_AREA, 1),
        ((1, 3, 2, 1, 1), SliceRule.NEAREST_CENTER, 2),
        ((1, 3, 2, 1), SliceRule.NEAREST_CENTER, 1),
        ((5,), SliceRule.NEAREST_CENTER, 0),
    ],
)
def test_the_section_that_stands_for_an_object(
    areas: tuple[int, ...], rule: SliceRule, z: int
) -> None:
    objects = components_of(tower(*areas)).objects

    standing = standing_sections(objects, rule)

    assert objects.sections.z[standing].tolist() == [z]
    assert objects.sections.area[standing].tolist() == [areas[z]]


def test_the_middle_section_is_one_that_the_object_is_on() -> None:
    probability = np.zeros((3, 1, 7), np.uint8)
    probability[0], probability[2] = 255, 255
    probability[1, 0, 0] = 255
    probability[0, 0, 0] = 0

    objects = components_of(probability).objects
    standing = standing_sections(objects, SliceRule.NEAREST_CENTER)

    assert objects.sections.z[standing].tolist() == [1]


def test_a_place_is_the_rounded_centroid_and_the_box_on_the_section() -> None:
    probability = np.zeros((1, 8, 8), np.uint8)
    probability[0, 2:4, 3:7] = 255

    objects = components_of(probability).objects
    (place,) = places(objects, standing_sections(objects, SliceRule.LARGEST_AREA), first_label=5)

    assert (place.label, place.z, place.centre) == (5, 0, (3, 5))
    assert (place.low, place.high) == ((2, 3), (4, 7))


def test_the_table_says_what_the_voxels_say() -> None:
    probability = np.zeros((2, 8, 8), np.uint8)
    probability[0, 1:3, 1:5], probability[1, 1, 1] = 200, 250
    probability[1, 6, 6] = 129

    objects = components_of(probability).objects
    standing = standing_sections(objects, SliceRule.LARGEST_AREA)
    angle, anisotropy = np.array([[90, np.nan], [2, 1]], np.float32)
    table = candidate_rows(
        objects, standing, angle=angle, anisotropy=anisotropy, source=3, first=10
    )

    assert table.schema == SCHEMA
    first, second = table.to_pylist()
    assert (first["candidate"], first["source"], first["voxels"], first["area"]) == (10, 3, 9, 8)
    assert [first[name] for name in ("z0", "y0", "x0", "z1", "y1", "x1")] == [0, 1, 1, 2, 3, 5]
    assert (first["slice"], first["angle"], first["anisotropy"]) == (0, 90, 2)
    assert first["mean_probability"] == pytest.approx((8 * 200 + 250) / 9 / 255)
    assert first["max_probability"] == pytest.approx(250 / 255)
    assert first["cz"] == pytest.approx(1 / 9)
    assert (second["candidate"], second["cy"], second["cx"]) == (11, 6, 6)
    assert np.isnan(second["angle"])


def test_no_objects_make_an_empty_table() -> None:
    objects = components_of(np.zeros((1, 4, 4), np.uint8)).objects
    nothing = np.zeros(0, np.float32)

    standing = standing_sections(objects, SliceRule.LARGEST_AREA)
    table = candidate_rows(objects, standing, angle=nothing, anisotropy=nothing, source=0, first=0)

    assert table.num_rows == 0
    assert table.schema == SCHEMA


def three_dots() -> Components:
    probability = np.zeros((1, 4, 12), np.uint8)
    probability[0, 1, [1, 5, 9]] = 255
    return components_of(probability)


@pytest.mark.parametrize(
    ("eligibility", "columns"),
    [
        (Eligibility(), [1, 5, 9]),
        (Eligibility(region=Box((0, 0, 0), (1, 4, 9))), [1, 5]),
        (Eligibility(exclude=(Box((0, 0, 0), (1, 4, 2)), Box((0, 0, 9), (1, 4, 10)))), [5]),
        (
            Eligibility(region=Box((0, 0, 4), (1, 4, 12)), exclude=(Box((0, 0, 8), (1, 2, 12)),)),
            [5],
        ),
    ],
)
def test_only_objects_with_their_centroid_in_the_right_place_count(
    eligibility: Eligibility, columns: list[int]
) -> None:
    components = three_dots()

    kept = components.where(eligibility.mask(components.objects))

    assert kept.objects.start[:, 2].tolist() == columns


def test_objects_that_do_not_count_are_not_labelled() -> None:
    components = three_dots()
    probability = np.zeros((1, 4, 12), np.uint8)
    probability[0, 1, [1, 5, 9]] = 255

    kept = components.where(np.array([True, False, True]))
    labels = np.zeros(probability.shape, np.int64)
    for box, ids in blocks_of(lambda box: probability[box.slices], kept):
        labels[box.slices] = ids

    assert labels[0, 1, [1, 5, 9]].tolist() == [1, 0, 2]
    assert kept.objects.sections.label.tolist() == [0, 1]
