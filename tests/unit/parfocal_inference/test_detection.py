from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parfocal_inference.detection import Detection, PatchGrid, detect, memory_bytes
from parfocal_inference.peaks import margin, peaks
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import Cancelled

Image = npt.NDArray[np.uint8]


def by_two_classes(patches: Image) -> npt.NDArray[np.float32]:
    """How bright a patch is in its middle, and how dark."""
    height, width = patches.shape[-2:]
    middle = patches[:, 0, height // 2, width // 2] / np.float32(255)
    return np.stack([middle, 1 - middle], axis=1).astype(np.float32)


def found(image: Image, grid: PatchGrid, box: Box, **options: object) -> list[Detection]:
    return list(
        detect(
            lambda inside: image[inside.slices],
            by_two_classes,
            grid=grid,
            box=box,
            **{"threshold": 0.5, "batch": 7, **options},  # type: ignore[arg-type]
        )
    )


def test_a_bright_spot_is_found_where_it_is() -> None:
    image = np.zeros((3, 40, 50), np.uint8)
    image[1, 20, 31] = 200
    grid = PatchGrid(image.shape, (8, 6), stride=1)

    (spot,) = found(image, grid, Box.whole(image.shape), left_out=[1])

    # The middle pixel of a patch of 8 x 6 is its pixel (4, 3).
    assert spot.box == Box((1, 16, 28), (2, 24, 34))
    assert spot.centre == (20.0, 31.0)
    assert spot.label == 0
    assert spot.confidence == pytest.approx(200 / 255)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30))


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes,
    patch=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=st.integers(1, 4),
    block=shapes,
    levels=st.sampled_from([2, 5, 256]),
    seed=st.integers(0, 5),
)
def test_the_detections_of_boxes_that_tile_an_image_are_those_of_the_whole(
    shape: Triple, patch: tuple[int, int], stride: int, block: Triple, levels: int, seed: int
) -> None:
    # Few levels make plateaus, on which neighbours are as high as each other.
    steps = np.random.default_rng(seed).integers(0, levels, shape)
    image = np.asarray(steps * (255 // (levels - 1)), np.uint8)
    grid = PatchGrid(shape, patch, stride)

    whole = found(image, grid, Box.whole(shape))
    pieces = [each for box in Box.whole(shape).blocks(block) for each in found(image, grid, box)]

    assert len(pieces) == len(set(pieces))
    assert set(pieces) == set(whole)
    assert set(whole) == set(plainly(image, grid))


def plainly(image: Image, grid: PatchGrid) -> list[Detection]:
    """The definition: of all patches those that are likely enough, and likeliest around."""
    (height, width), stride = grid.patch, grid.stride
    detections = []
    for z, section in enumerate(image):
        tops = range(0, section.shape[0] - height + 1, stride)
        lefts = range(0, section.shape[1] - width + 1, stride)
        places = [(top, left) for top in tops for left in lefts]
        if not places:
            continue
        patches = np.stack([section[y : y + height, x : x + width] for y, x in places])[:, None]
        for label, confidence in enumerate(by_two_classes(patches).T):
            high = {place: value for place, value in zip(places, confidence, strict=True)}
            best = [p for p in places if all(high[p] >= high[q] for q in around(p, places, grid))]
            for place in best:
                if high[place] < 0.5:
                    continue
                if any(q < place and high[q] == high[place] for q in around(place, best, grid)):
                    continue
                y, x = place
                box = Box((z, y, x), (z + 1, y + height, x + width))
                detections.append(Detection(label, box, float(high[place])))
    return detections


def around(
    place: tuple[int, int], places: list[tuple[int, int]], grid: PatchGrid
) -> list[tuple[int, int]]:
    rows, columns = (side * grid.stride for side in grid.reach)
    return [
        (y, x)
        for y, x in places
        if ((y - place[0]) / rows) ** 2 + ((x - place[1]) / columns) ** 2 < 1
    ]


def test_classes_that_are_nothing_to_find_are_left_out() -> None:
    image = np.zeros((1, 12, 12), np.uint8)
    grid = PatchGrid(image.shape, (4, 4), stride=2)

    assert {each.label for each in found(image, grid, Box.whole(image.shape))} == {1}
    assert found(image, grid, Box.whole(image.shape), left_out=[1]) == []


def test_an_image_smaller_than_a_patch_has_no_detections() -> None:
    image = np.full((2, 5, 40), 255, np.uint8)
    grid = PatchGrid(image.shape, (6, 6), stride=1)
    box = Box.whole(image.shape)

    assert found(image, grid, box) == []
    assert memory_bytes(grid, box, classes=2, batch=4, chunk=1) == 0


def test_a_model_always_sees_the_same_number_of_patches() -> None:
    seen = []

    def classify(patches: Image) -> npt.NDArray[np.float32]:
        seen.append(len(patches))
        return by_two_classes(patches)

    image = np.zeros((1, 10, 10), np.uint8)
    grid = PatchGrid(image.shape, (4, 4), stride=1)
    box = Box.whole(image.shape)
    list(detect(lambda b: image[b.slices], classify, grid=grid, box=box, threshold=0.5, batch=16))

    assert seen == [16] * 4


def test_work_stops_between_runs_when_nobody_waits_for_it() -> None:
    class AtOnce:
        def check(self) -> None:
            raise Cancelled("ERROR_REASON_CANCELLED", "gone")

    image = np.zeros((1, 10, 10), np.uint8)
    grid = PatchGrid(image.shape, (4, 4), stride=1)

    with pytest.raises(Cancelled):
        found(image, grid, Box.whole(image.shape), cancel=AtOnce())


def test_of_equal_peaks_that_are_near_the_first_counts() -> None:
    flat = np.full((1, 7), 0.7, np.float32)

    assert peaks(flat, threshold=0.7, reach=(1, 2)).tolist() == [[0, 0]]
    assert peaks(flat, threshold=0.71, reach=(1, 2)).tolist() == []


def test_what_decides_a_peak_lies_within_two_reaches() -> None:
    assert margin((1, 1)) == (0, 0)
    assert margin((2, 2.5)) == (2, 4)
