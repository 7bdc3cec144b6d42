from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from parfocal_inference.segment import Predict, segment_block
from parfocal_inference.windows import WindowGrid, blend_weight
from parfocal_runtime.box import Box, Triple
from parfocal_runtime.errors import Cancelled

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
    image: Image, predict: Predict, *, grid: WindowGrid, block: Triple, batch: int = 1
) -> Image:
    result = np.full(image.shape, 99, np.uint8)
    for box in Box.whole(image.shape).blocks(block):
        result[box.slices] = segment_block(
            lambda inside: image[inside.slices], predict, grid=grid, box=box, batch=batch
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
)
def test_a_map_is_the_blend_of_the_method_whatever_the_blocks(
    shape: Triple, window: Triple, overlap: float, blocks: list[Triple], batch: int
) -> None:
    image = noise(shape)
    grid = WindowGrid.overlapping(shape, window, overlap=overlap)

    maps = [by_blocks(image, brightness, grid=grid, block=block, batch=batch) for block in blocks]

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

    assert len(runs) == 3
