from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from parfocal_inference.components import (
    ComponentRule,
    Components,
    Connectivity,
    find_components,
    labelled_blocks,
)
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import Cancelled

Map = npt.NDArray[np.uint8]


def components(probability: Map, rule: ComponentRule, block: Triple) -> Components:
    z, y, x = probability.shape
    return find_components(lambda box: probability[box.slices], (z, y, x), rule=rule, block=block)


def label_image(probability: Map, found: Components) -> npt.NDArray[np.int64]:
    labels = np.zeros(probability.shape, np.int64)
    for box, ids in labelled_blocks(lambda box: probability[box.slices], found):
        labels[box.slices] = ids
    return labels


def labelled_at_once(probability: Map, rule: ComponentRule) -> npt.NDArray[np.int64]:
    """Labels by another library, in raster order, small ones dropped."""
    structure = np.zeros((3, 3, 3), bool)
    structure[1, 1, 1] = True
    for z, y, x in rule.connectivity.neighbours():
        structure[z + 1, y + 1, x + 1] = True
    labels, _ = ndimage.label(probability > np.floor(255 * rule.threshold), structure)
    sizes = np.bincount(labels.ravel())
    return np.where(sizes[labels] >= rule.minimum_voxels, labels, 0).astype(np.int64)


def same_partition(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> bool:
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return bool(
        np.array_equal(first > 0, second > 0)
        and len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))
    )


shapes = st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
rules = st.builds(
    ComponentRule,
    threshold=st.sampled_from([0.35, 0.5, 0.65, 0.8]),
    connectivity=st.sampled_from(Connectivity),
    minimum_voxels=st.integers(1, 12),
)


@settings(max_examples=100, deadline=None)
@given(shape=shapes, block=shapes, rule=rules, seed=st.integers(0, 2**32 - 1))
def test_blocks_give_the_objects_of_the_whole_array(
    shape: Triple, block: Triple, rule: ComponentRule, seed: int
) -> None:
    probability = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)

    found = components(probability, rule, block)

    labels = label_image(probability, found)
    assert same_partition(labels, labelled_at_once(probability, rule))
    assert len(found.objects) == labels.max(initial=0)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, block=shapes, rule=rules, seed=st.integers(0, 2**32 - 1))
def test_ids_and_numbers_do_not_depend_on_the_blocks(
    shape: Triple, block: Triple, rule: ComponentRule, seed: int
) -> None:
    probability = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)

    whole, pieces = (components(probability, rule, side) for side in (shape, block))

    assert np.array_equal(label_image(probability, whole), label_image(probability, pieces))
    for name in ("start", "stop", "voxels", "centroid", "mean_probability", "max_probability"):
        assert np.array_equal(getattr(whole.objects, name), getattr(pieces.objects, name))
    for name, column in whole.objects.sections.columns().items():
        assert np.array_equal(column, pieces.objects.sections.columns()[name])


@settings(max_examples=40, deadline=None)
@given(shape=shapes, rule=rules, seed=st.integers(0, 2**32 - 1))
def test_what_is_said_of_an_object_is_what_its_voxels_say(
    shape: Triple, rule: ComponentRule, seed: int
) -> None:
    probability = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)

    found = components(probability, rule, (3, 7, 7))

    labels = label_image(probability, found)
    for row in range(len(found.objects)):
        voxels = np.argwhere(labels == row + 1)
        values = probability[labels == row + 1].astype(float)
        assert found.objects.start[row].tolist() == voxels.min(0).tolist()
        assert found.objects.stop[row].tolist() == (voxels.max(0) + 1).tolist()
        assert found.objects.voxels[row] == len(voxels)
        assert np.allclose(found.objects.centroid[row], voxels.mean(0))
        assert found.objects.mean_probability[row] == pytest.approx(values.mean() / 255)
        assert found.objects.max_probability[row] == values.max() / 255


def test_objects_are_ordered_by_their_boxes_start_then_by_their_first_voxel() -> None:
    probability = np.zeros((2, 6, 9), np.uint8)
    probability[1, 0, 0] = 255
    probability[0, 5, 0] = 255
    probability[0, 1, 2:5] = 255
    probability[0, 4:, 2] = probability[0, 5, 2:] = probability[0, 1:, 8] = 255

    found = components(probability, ComponentRule(minimum_voxels=1), (1, 3, 4))

    assert found.objects.start.tolist() == [[0, 1, 2], [0, 1, 2], [0, 5, 0], [1, 0, 0]]
    assert found.objects.voxels.tolist() == [3, 12, 1, 1]


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 3, 3), (1, 7, 7)])
def test_voxels_packed_as_densely_as_can_be_are_all_found(shape: Triple) -> None:
    probability = np.zeros(shape, np.uint8)
    probability[::2, ::2, ::2] = 255
    rule = ComponentRule(connectivity=Connectivity.VOLUME_26, minimum_voxels=1)

    found = components(probability, rule, shape)

    assert len(found.objects) == np.count_nonzero(probability)


def test_the_threshold_is_strict() -> None:
    probability = np.array([[[127, 0, 128]]], np.uint8)

    found = components(probability, ComponentRule(minimum_voxels=1), (1, 1, 3))

    assert found.objects.start.tolist() == [[0, 0, 2]]


def test_the_minimum_size_counts_voxels_of_all_blocks() -> None:
    probability = np.full((1, 1, 10), 255, np.uint8)

    found = components(probability, ComponentRule(minimum_voxels=10), (1, 1, 3))

    assert found.objects.voxels.tolist() == [10]


def test_a_map_without_objects_has_none() -> None:
    probability = np.zeros((2, 8, 8), np.uint8)

    found = components(probability, ComponentRule(), (1, 4, 4))

    assert len(found.objects) == 0
    assert found.objects.centroid.shape == (0, 3)
    assert not label_image(probability, found).any()


def test_two_hundred_objects_keep_two_hundred_ids() -> None:
    probability = np.zeros((1, 40, 40), np.uint8)
    probability[0, ::2, ::4] = 255

    found = components(probability, ComponentRule(minimum_voxels=1), (1, 16, 16))

    assert len(np.unique(label_image(probability, found))) == 201


def test_work_stops_between_blocks_when_nobody_waits_for_it() -> None:
    class Gone:
        def check(self) -> None:
            raise Cancelled("ERROR_REASON_CANCELLED", "gone")

    with pytest.raises(Cancelled):
        find_components(
            lambda box: np.zeros(box.shape, np.uint8),
            (4, 4, 4),
            rule=ComponentRule(),
            block=(2, 2, 2),
            cancel=Gone(),
        )


def test_each_block_is_read_once_in_a_pass() -> None:
    read: list[Box] = []

    def reader(box: Box) -> Map:
        read.append(box)
        return np.zeros(box.shape, np.uint8)

    find_components(reader, (5, 7, 9), rule=ComponentRule(), block=(2, 4, 4))

    assert sum(box.voxels for box in read) == 5 * 7 * 9
