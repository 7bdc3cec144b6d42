from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from parfocal_inference.augmentation import Augmented
from parfocal_inference.emptiness import LowContrast
from parfocal_inference.memory import block_memory_bytes
from parfocal_inference.segment import Predict, Tally, segment_block, segment_sections
from parfocal_inference.windows import WindowGrid, blend_weight
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import Cancelled
from parfocal_runtime.tasks import CancelFlag

Image = npt.NDArray[np.uint8]


def noise(shape: Triple, *, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def brightness(windows: Image) -> npt.NDArray[np.float32]:
    """Depends on the voxel and on where it lies in the window, as a network's border does."""
    ramp = np.linspace(0, 1, windows[0].size, dtype=np.float32).reshape(windows.shape[1:])
    return np.asarray(windows.astype(np.float32) / 255 * (1 + ramp) - 0.3, np.float32)


def conv_session(*, seed: int = 0) -> ort.InferenceSession:
    """A two-layer 3D convolution with padding and a sigmoid, batch and sides dynamic."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.05, (3, 1, 3, 3, 3)).astype(np.float32)
    second = rng.normal(0, 0.3, (1, 3, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "first"], ["hidden"], pads=[1] * 6),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Conv", ["active", "second"], ["logit"], pads=[0, 1, 1, 0, 1, 1]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    sides: list[str | int | None] = ["n", 1, "z", "y", "x"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, sides)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, sides)],
        [
            numpy_helper.from_array(np.array(32, np.float32), "scale"),
            numpy_helper.from_array(first, "first"),
            numpy_helper.from_array(second, "second"),
        ],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def network() -> Predict:
    session = conv_session()

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        return np.asarray(session.run(None, {"image": windows})[0])

    return predict


def by_blocks(
    image: Image, predict: Predict, *, grid: WindowGrid, block: Triple, **options: Any
) -> Image:
    result = np.full(image.shape, 99, np.uint8)
    for box in Box.whole(image.shape).blocks(block):
        result[box.slices] = segment_block(
            lambda inside: image[inside.slices], predict, grid=grid, box=box, **options
        )
    return result


def plainly(image: Image, predict: Predict, *, grid: WindowGrid) -> Image:
    """The definition: weighted sums over the whole image, window by window."""
    pads = [
        (-starts[0], starts[-1] + side - size)
        for starts, side, size in zip(grid.starts, grid.window, image.shape, strict=True)
    ]
    padded = np.pad(image, pads, mode="reflect")
    sums, weights = np.zeros((2, *padded.shape))
    weight = blend_weight(grid.window).astype(np.float64)
    for z in grid.starts[0]:
        for y in grid.starts[1]:
            for x in grid.starts[2]:
                corner = np.add((z, y, x), [before for before, _ in pads])
                here = tuple(
                    slice(low, low + side) for low, side in zip(corner, grid.window, strict=True)
                )
                sums[here] += weight * predict(padded[here][None, None])[0, 0]
                weights[here] += weight
    probability: npt.NDArray[np.float64] = np.clip(sums / weights, 0, 1)
    inside = tuple(slice(pad, pad + side) for (pad, _), side in zip(pads, image.shape, strict=True))
    return np.floor(255 * probability[inside]).astype(np.uint8)


shapes = st.tuples(st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
windows = st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=60, deadline=None)
@given(
    shape=shapes,
    window=windows,
    overlap=st.floats(0, 0.75),
    blocks=st.lists(shapes, min_size=2, max_size=2),
    batch=st.integers(1, 3),
    at_once=st.integers(1, 3),
    chunk=st.integers(1, 5),
)
def test_a_map_is_the_blend_of_the_method_whatever_the_blocks(
    shape: Triple,
    window: Triple,
    overlap: float,
    blocks: list[Triple],
    batch: int,
    at_once: int,
    chunk: int,
) -> None:
    image = noise(shape)
    grid = WindowGrid.overlapping(shape, window, overlap=overlap)

    maps = [
        by_blocks(
            image, brightness, grid=grid, block=block, batch=batch, at_once=at_once, chunk=chunk
        )
        for block in blocks
    ]

    expected = plainly(image, brightness, grid=grid)
    assert all(np.array_equal(expected, found) for found in maps)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(3, 10), st.integers(5, 28), st.integers(5, 28)),
    window=st.tuples(st.integers(3, 6), st.integers(5, 12), st.integers(5, 12)),
    overlap=st.floats(0, 0.6),
    block=st.tuples(st.integers(2, 10), st.integers(5, 28), st.integers(5, 28)),
)
def test_the_map_of_a_network_does_not_depend_on_the_blocks(
    network: Predict, shape: Triple, window: Triple, overlap: float, block: Triple
) -> None:
    image = noise(shape)
    grid = WindowGrid.overlapping(shape, window, overlap=overlap)

    whole = by_blocks(image, network, grid=grid, block=shape)
    pieces = by_blocks(image, network, grid=grid, block=block)

    assert np.array_equal(whole, pieces)


@settings(max_examples=30, deadline=None)
@given(
    shape=shapes,
    sides=st.tuples(st.integers(2, 6), st.integers(1, 12)),
    overlap=st.floats(0, 0.6),
    block=shapes,
    copies=st.sampled_from([4, 8, 16]),
    contrast=st.sampled_from([0, 230, 250]),
)
def test_augmented_maps_with_empty_windows_do_not_depend_on_the_blocks(
    shape: Triple, sides: tuple[int, int], overlap: float, block: Triple, copies: int, contrast: int
) -> None:
    image = noise(shape)
    window = (sides[0], sides[1], sides[1])
    grid = WindowGrid.overlapping(shape, window, overlap=overlap)
    augmented = Augmented(brightness, copies=copies, window=window)
    is_empty = LowContrast(contrast)

    whole = by_blocks(image, augmented, grid=grid, block=shape, is_empty=is_empty)
    pieces = by_blocks(image, augmented, grid=grid, block=block, is_empty=is_empty)

    def unless_empty(windows: Image) -> npt.NDArray[np.float32]:
        return augmented(windows) * np.float32(not is_empty(windows[0, 0]))

    assert np.array_equal(whole, pieces)
    assert np.array_equal(whole, plainly(image, unless_empty, grid=grid))


@pytest.mark.parametrize(("probability", "value"), [(0.0, 0), (0.2, 51), (0.5, 127), (1.0, 255)])
def test_a_constant_probability_is_truncated_and_not_worn_by_blending(
    probability: float, value: int
) -> None:
    shape = (9, 21, 21)
    grid = WindowGrid.overlapping(shape, (4, 8, 8), overlap=0.6)

    found = by_blocks(
        noise(shape),
        lambda windows: np.full(windows.shape, probability, np.float32),
        grid=grid,
        block=(4, 10, 10),
    )

    assert np.unique(found).tolist() == [value]


def test_values_outside_zero_to_one_are_clipped() -> None:
    grid = WindowGrid.overlapping((2, 4, 4), (2, 4, 4), overlap=0)
    values = np.linspace(-1, 2, 32, dtype=np.float32).reshape(1, 1, 2, 4, 4)

    found = by_blocks(noise((2, 4, 4)), lambda _: values, grid=grid, block=(2, 4, 4))

    assert found.min() == 0
    assert found.max() == 255


def test_an_image_smaller_than_the_window_is_seen_reflected() -> None:
    image = np.arange(3, dtype=np.uint8).reshape(1, 1, 3)
    seen = []

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        seen.append(windows.copy())
        return np.zeros(windows.shape, np.float32)

    by_blocks(
        image,
        predict,
        grid=WindowGrid.overlapping((1, 1, 3), (1, 1, 7), overlap=0),
        block=(1, 1, 3),
    )

    assert seen[0].ravel().tolist() == [2, 1, 0, 1, 2, 1, 0]


def test_only_windows_that_touch_the_block_are_run() -> None:
    runs = []

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        runs.append(len(windows))
        return np.zeros(windows.shape, np.float32)

    grid = WindowGrid((16, 64, 64), (8, 16, 16), (8, 16, 16))
    image = noise((16, 64, 64))

    segment_block(
        lambda box: image[box.slices], predict, grid=grid, box=Box((0, 0, 0), (8, 17, 16))
    )

    assert sum(runs) == 2


def test_work_stops_between_windows_when_nobody_waits_for_it() -> None:
    class AfterThree:
        left = 3

        def check(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled("ERROR_REASON_CANCELLED", "gone")

    grid = WindowGrid.overlapping((2, 40, 40), (2, 4, 4), overlap=0)
    image, runs = noise((2, 40, 40)), []

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        runs.append(1)
        return np.zeros(windows.shape, np.float32)

    with pytest.raises(Cancelled):
        segment_block(
            lambda box: image[box.slices],
            predict,
            grid=grid,
            box=Box.whole(image.shape),
            cancel=AfterThree(),
        )

    # The run that was asked for last may not have begun.
    assert len(runs) in {2, 3}


def test_windows_that_wait_for_the_model_are_not_begun_once_the_work_is_cancelled() -> None:
    cancel, runs = CancelFlag(), []
    grid = WindowGrid.overlapping((2, 4, 12), (2, 4, 4), overlap=0)
    image = noise((2, 4, 12))

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        runs.append(1)
        # The next window stands in line by then.
        cancel.wait(0.1)
        cancel.set()
        return np.zeros(windows.shape, np.float32)

    with pytest.raises(Cancelled):
        segment_block(
            lambda box: image[box.slices],
            predict,
            grid=grid,
            box=Box.whole(image.shape),
            cancel=cancel,
        )

    assert len(runs) == 1


def test_every_section_of_the_image_is_read_once_and_in_whole_chunks() -> None:
    image = noise((50, 20, 20))
    read: list[Box] = []

    def reading(box: Box) -> Image:
        read.append(box)
        return image[box.slices]

    grid = WindowGrid.overlapping(image.shape, (8, 8, 8), overlap=0.25)
    segment_block(reading, brightness, grid=grid, box=Box((16, 0, 0), (48, 20, 20)), chunk=16)

    # The windows that touch the box begin at section 12 and end with the image.
    assert [(box.start[0], box.stop[0]) for box in read] == [(12, 32), (32, 48), (48, 50)]
    assert {box.shape[1:] for box in read} == {(20, 20)}


def test_the_next_windows_are_with_the_model_while_the_last_ones_are_blended() -> None:
    image = noise((4, 8, 80))
    begun = threading.Semaphore(0)

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        begun.release()
        return np.zeros(windows.shape, np.float32)

    grid = WindowGrid.overlapping((4, 8, 80), (2, 8, 80), overlap=0)
    sections = segment_sections(
        lambda box: image[box.slices], predict, grid=grid, box=Box.whole(image.shape)
    )
    next(sections)

    assert begun.acquire(timeout=10)
    assert begun.acquire(timeout=10)
    sections.close()


def test_so_many_windows_are_with_the_model_at_a_time() -> None:
    image = noise((2, 8, 96))
    three = threading.Barrier(3)

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        three.wait(30)
        return np.asarray(windows / np.float32(255), np.float32)

    # Twelve windows, by threes.
    found = by_blocks(
        image,
        predict,
        grid=WindowGrid.overlapping(image.shape, (2, 8, 8), overlap=0),
        block=image.shape,
        at_once=3,
    )

    assert np.abs(found.astype(int) - image).max() <= 1


def test_a_run_that_a_row_of_windows_does_not_fill_goes_on_with_the_next_row() -> None:
    image = noise((8, 8, 24))
    grid = WindowGrid.overlapping(image.shape, (2, 8, 8), overlap=0)
    runs: list[int] = []

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        runs.append(sum(window.any() for window in windows))
        return brightness(windows)

    found = by_blocks(image, predict, grid=grid, block=image.shape, batch=5)

    # Four rows of three windows.
    assert runs == [5, 5, 2]
    assert (found == by_blocks(image, brightness, grid=grid, block=image.shape)).all()


@pytest.mark.parametrize("batch", [1, 2])
def test_rows_without_pixels_do_not_wait_for_a_run_to_be_filled(batch: int) -> None:
    image = np.zeros((6, 8, 16), np.uint8)
    image[2:4] = noise((2, 8, 16))
    grid = WindowGrid.overlapping(image.shape, (2, 8, 8), overlap=0)
    last_row_may_be_read = threading.Event()

    def reading(box: Box) -> Image:
        assert box.start[0] < 4 or last_row_may_be_read.wait(30)
        return image[box.slices]

    sections = segment_sections(
        reading,
        brightness,
        grid=grid,
        box=Box.whole(image.shape),
        batch=batch,
        is_empty=LowContrast(0),
    )

    assert not next(sections).any()
    last_row_may_be_read.set()
    assert [piece.any() for piece in sections] == [True, False]


def test_windows_that_are_empty_are_counted_and_not_run() -> None:
    image = noise((2, 8, 32))
    image[:, :, 8:24] = 7
    grid = WindowGrid.overlapping((2, 8, 32), (2, 8, 8), overlap=0)
    runs, tally = [], Tally()

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        runs.append(len(windows))
        return np.ones(windows.shape, np.float32)

    found = np.concatenate(
        list(
            segment_sections(
                lambda box: image[box.slices],
                predict,
                grid=grid,
                box=Box.whole(image.shape),
                batch=2,
                is_empty=LowContrast(0),
                tally=tally,
            )
        )
    )

    assert (runs, tally.windows, tally.skipped) == ([2], 2, 2)
    assert not found[:, :, 8:24].any()
    assert (found[:, :, :8] == 255).all()
    assert (found[:, :, 24:] == 255).all()


@pytest.mark.parametrize("depth", [32, 320])
@pytest.mark.parametrize(
    ("copies", "batch", "at_once"), [(1, 1, 1), (8, 3, 1), (1, 1, 4), (8, 2, 2)]
)
def test_memory_is_known_beforehand_and_does_not_grow_with_depth(
    depth: int, copies: int, batch: int, at_once: int
) -> None:
    window = (8, 64, 64)
    grid = WindowGrid.overlapping((depth, 200, 200), window, overlap=0.25)
    box = Box((0, 40, 40), (depth, 160, 160))
    stated = block_memory_bytes(
        grid,
        box,
        batch=batch,
        at_once=at_once,
        read_chunk=16,
        write_chunk=16,
        dtype=np.float32,
        is_augmented=copies > 1,
    )

    def predict(windows: Image) -> npt.NDArray[np.float32]:
        return windows.astype(np.float32)

    predict_all = Augmented(predict, copies=copies, window=window)
    blend_weight(window)
    tracemalloc.start()
    for _ in segment_sections(
        lambda inside: np.full(inside.shape, 3, np.uint8),
        predict_all,
        grid=grid,
        box=box,
        batch=batch,
        at_once=at_once,
        chunk=16,
    ):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0.5 * stated < peak < stated
    assert stated < 20e6
