from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from model_packages import PackageFiles, affine_graph, package_0_4, package_0_5
from onnx_graphs import graph
from parfocal_runtime.models.datatypes import Array
from parfocal_runtime.models.packages.folding import folded
from parfocal_runtime.models.packages.reading import read_description
from parfocal_runtime.models.packages.weights import read_graph
from parfocal_runtime.models.sessions import open_session

Floats = npt.NDArray[np.float64]
AXES = ("batch", "channel", "y", "x")
SHAPE = (2, 3, 5, 7)
YX, CYX = (2, 3), (1, 2, 3)


@dataclass(frozen=True)
class Case:
    """A step of processing in both spellings, and what numpy makes of it."""

    new: dict[str, Any]
    old: dict[str, Any] | None
    expected: Callable[[Floats], Any]


def new(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"id": name, "kwargs": kwargs} if kwargs else {"id": name}


def old(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"name": name, "kwargs": kwargs} if kwargs else {"name": name}


def standardised(x: Floats, axes: tuple[int, ...], eps: float) -> Floats:
    mean, std = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
    return np.asarray((x - mean) / (std + eps))


def ranged(x: Floats, low: float, high: float, axes: tuple[int, ...], eps: float = 1e-6) -> Floats:
    lower, upper = np.percentile(x, [low, high], axis=axes, keepdims=True)
    return np.asarray((x - lower) / (upper - lower + eps))


def along_channel(*values: float) -> Floats:
    return np.reshape(np.asarray(values, np.float64), (-1, 1, 1))


def softmax(x: Floats, axis: int) -> Floats:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True))


def clipped_percentiles(x: Floats) -> Floats:
    low, high = np.percentile(x, [10, 70], axis=YX, keepdims=True, method="inverted_cdf")
    return np.clip(x, low, high)


CASES = {
    "binarize": Case(
        new("binarize", threshold=0.25), old("binarize", threshold=0.25), lambda x: x > 0.25
    ),
    "binarize along an axis": Case(
        new("binarize", threshold=[-1.0, 0.0, 1.0], axis="channel"),
        None,
        lambda x: x > along_channel(-1, 0, 1),
    ),
    "clip": Case(
        new("clip", min=-0.5, max=1.0),
        old("clip", min=-0.5, max=1.0),
        lambda x: np.clip(x, -0.5, 1.0),
    ),
    "clip below": Case(new("clip", min=0.1), None, lambda x: np.maximum(x, 0.1)),
    "clip percentiles": Case(
        new("clip", min_percentile=10, max_percentile=70, axes=["y", "x"]),
        None,
        clipped_percentiles,
    ),
    "ensure_dtype": Case(
        new("ensure_dtype", dtype="int16"), None, lambda x: x.astype(np.int16)
    ),
    "scale_linear": Case(
        new("scale_linear", gain=2.0, offset=-3.0),
        old("scale_linear", gain=2.0, offset=-3.0, axes="cyx"),
        lambda x: 2 * x - 3,
    ),
    "scale_linear along an axis": Case(
        new("scale_linear", gain=[1.0, 2.0, 3.0], offset=0.5, axis="channel"),
        old("scale_linear", gain=[1.0, 2.0, 3.0], offset=[0.5, 0.5, 0.5], axes="yx"),
        lambda x: along_channel(1, 2, 3) * x + 0.5,
    ),
    "sigmoid": Case(new("sigmoid"), old("sigmoid"), lambda x: 1 / (1 + np.exp(-x))),
    "softmax": Case(new("softmax", axis="channel"), None, lambda x: softmax(x, 1)),
    "softmax along a row": Case(new("softmax", axis="x"), None, lambda x: softmax(x, 3)),
    "fixed": Case(
        new("fixed_zero_mean_unit_variance", mean=0.3, std=1.7),
        old("zero_mean_unit_variance", mode="fixed", axes="cyx", mean=0.3, std=1.7),
        lambda x: (x - 0.3) / 1.7,
    ),
    "fixed along an axis": Case(
        new("fixed_zero_mean_unit_variance", mean=[0.1, 0.2, 0.3], std=[1, 2, 3], axis="channel"),
        old(
            "zero_mean_unit_variance", mode="fixed", axes="yx", mean=[0.1, 0.2, 0.3], std=[1, 2, 3]
        ),
        lambda x: (x - along_channel(0.1, 0.2, 0.3)) / along_channel(1, 2, 3),
    ),
    "zero mean of each sample": Case(
        new("zero_mean_unit_variance", axes=["channel", "y", "x"]),
        old("zero_mean_unit_variance", mode="per_sample", axes="cyx"),
        lambda x: standardised(x, CYX, 1e-6),
    ),
    "zero mean without axes": Case(
        new("zero_mean_unit_variance"), None, lambda x: standardised(x, CYX, 1e-6)
    ),
    "zero mean of each channel": Case(
        new("zero_mean_unit_variance", axes=["x", "y"], eps=0.01),
        old("zero_mean_unit_variance", mode="per_sample", axes="xy", eps=0.01),
        lambda x: standardised(x, YX, 0.01),
    ),
    "scale_range": Case(
        new("scale_range", axes=["channel", "y", "x"]),
        old("scale_range", mode="per_sample", axes="cyx"),
        lambda x: ranged(x, 0, 100, CYX),
    ),
    "scale_range of percentiles": Case(
        new("scale_range", axes=["y", "x"], min_percentile=3, max_percentile=99.8, eps=0.1),
        old(
            "scale_range", mode="per_sample", axes="yx",
            min_percentile=3, max_percentile=99.8, eps=0.1,
        ),
        lambda x: ranged(x, 3, 99.8, YX, 0.1),
    ),
    "scale_range over an axis in the middle": Case(
        new("scale_range", axes=["y"], min_percentile=20, max_percentile=80),
        old("scale_range", mode="per_sample", axes="y", min_percentile=20, max_percentile=80),
        lambda x: ranged(x, 20, 80, (2,)),
    ),
    "scale_range of the raw input": Case(
        new(
            "scale_range", axes=["y", "x"], min_percentile=5, max_percentile=95,
            reference_tensor="raw",
        ),
        None,
        lambda x: ranged(x, 5, 95, YX),
    ),
}  # fmt: skip


def numbers(shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def run(package: PackageFiles, raw: Array) -> Array:
    described = read_description("rdf.yaml", yaml.safe_dump(package.description).encode())
    whole = folded(read_graph(package.files["weights.onnx"], lambda _: b""), described)
    return open_session(whole.SerializeToString()).run({"raw": raw})["finished"]


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("role", ["preprocessing", "postprocessing"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_step_of_format_0_5_gives_what_numpy_gives(case: Case, role: str, opset: int) -> None:
    raw = numbers()
    model = affine_graph(("n", 3, "y", "x"), opset=opset)
    package = package_0_5(model, raw, raw, axes=AXES, step=1).with_steps(role, [case.new])

    found = run(package, raw)

    np.testing.assert_allclose(found, case.expected(raw.astype(np.float64)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("role", ["preprocessing", "postprocessing"])
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name) for name, case in CASES.items() if case.old is not None],
)
def test_a_step_of_format_0_4_gives_what_numpy_gives(case: Case, role: str) -> None:
    raw = numbers()
    model = affine_graph(("n", 3, 5, 7))
    package = package_0_4(model, raw, raw, axes=AXES).with_steps(role, [case.old])

    found = run(package, raw)

    np.testing.assert_allclose(found, case.expected(raw.astype(np.float64)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_moments_of_a_raw_input_are_matched(version: str) -> None:
    raw = numbers() * np.float32(3) + np.float32(7)
    model = affine_graph(("n", 3, 5, 7), gain=-2.0)
    if version == "0.5":
        step = new("scale_mean_variance", reference_tensor="raw", axes=["y", "x"])
        package = package_0_5(model, raw, raw, axes=AXES, postprocessing=[step])
    else:
        step = old("scale_mean_variance", mode="per_sample", reference_tensor="raw", axes="yx")
        package = package_0_4(model, raw, raw, axes=AXES, postprocessing=[step])

    found = run(package, raw)

    mean = raw.astype(np.float64).mean(YX, keepdims=True)
    np.testing.assert_allclose(found, 2 * mean - raw, rtol=1e-4, atol=1e-4)


def test_percentiles_of_a_raw_input_are_taken_in_format_0_4() -> None:
    raw = numbers()
    step = old(
        "scale_range", mode="per_sample", axes="yx", min_percentile=5, max_percentile=95,
        reference_tensor="raw",
    )  # fmt: skip
    model = affine_graph(("n", 3, 5, 7), offset=4.0)

    found = run(package_0_4(model, raw, raw, axes=AXES, postprocessing=[step]), raw)

    low, high = np.percentile(raw.astype(np.float64), [5, 95], axis=YX, keepdims=True)
    np.testing.assert_allclose(found, (raw + 4 - low) / (high - low), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["binarize", "clip", "scale_linear", "sigmoid", "softmax", "zero mean without axes"]
)
def test_an_old_operator_set_is_enough_for_all_but_percentiles(name: str) -> None:
    raw = numbers()
    model = affine_graph(("n", 3, 5, 7), opset=9)
    case = CASES[name]

    found = run(package_0_5(model, raw, raw, axes=AXES, preprocessing=[case.new]), raw)

    np.testing.assert_allclose(found, case.expected(raw.astype(np.float64)), rtol=1e-4, atol=1e-5)


@given(
    q=st.floats(1.5, 100),
    low=st.floats(0, 1),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    axes=st.sets(st.sampled_from(["channel", "y", "x"]), min_size=1),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_percentile_is_that_of_numpy(
    q: float, low: float, shape: tuple[int, ...], axes: set[str], seed: int
) -> None:
    raw = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    step = new("scale_range", axes=sorted(axes), min_percentile=low, max_percentile=q, eps=0.1)
    model = affine_graph(("n", shape[0], "y", "x"))

    found = run(package_0_5(model, raw, raw, axes=AXES, preprocessing=[step]), raw)

    where = tuple(AXES.index(axis) for axis in sorted(axes))
    expected = ranged(raw.astype(np.float64), low, q, where, 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@given(
    low=st.floats(0, 99.5),
    high=st.floats(1.5, 100),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_are_clipped_to_elements_of_the_tensor(
    low: float, high: float, shape: tuple[int, ...], seed: int
) -> None:
    raw = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    step = new("clip", min_percentile=low, max_percentile=high, axes=["channel", "x"])
    model = affine_graph(("n", shape[0], "y", "x"))

    found = run(package_0_5(model, raw, raw, axes=AXES, preprocessing=[step]), raw)

    bounds = np.percentile(raw, [low, high], axis=(1, 3), keepdims=True, method="inverted_cdf")
    np.testing.assert_array_equal(found, np.minimum(np.maximum(raw, bounds[0]), bounds[1]))


def test_a_row_does_not_depend_on_the_others_of_its_batch() -> None:
    raw = numbers()
    steps = [new("zero_mean_unit_variance"), new("scale_range", min_percentile=2)]
    package = package_0_5(
        affine_graph(("n", 3, "y", "x")), raw, raw, axes=AXES, preprocessing=steps
    )

    together = run(package, raw)

    np.testing.assert_array_equal(together[:1], run(package, raw[:1]))


def test_steps_are_carried_out_in_their_order() -> None:
    raw = numbers()
    steps = [new("scale_linear", gain=3.0), new("clip", min=-1.0, max=1.0)]
    model = affine_graph(("n", 3, "y", "x"), gain=2.0, offset=1.0)
    package = package_0_5(
        model, raw, raw, axes=AXES, preprocessing=steps, postprocessing=[new("sigmoid")]
    )

    found = run(package, raw)

    inner = 2 * np.clip(3 * raw, -1, 1) + 1
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-inner)), rtol=1e-5)


def test_raw_bytes_are_normalised_for_a_graph_of_floats() -> None:
    raw = np.arange(210, dtype=np.uint8).reshape(SHAPE)
    finished = np.zeros(SHAPE, np.float32)
    step = new("scale_linear", gain=1 / 255)
    package = package_0_5(
        affine_graph(("n", 3, 5, 7)), raw, finished, axes=AXES, preprocessing=[step]
    )

    found = run(package, raw)

    np.testing.assert_allclose(found, raw / 255, rtol=1e-6)


def test_a_graph_of_half_floats_takes_and_gives_what_the_description_says() -> None:
    raw = numbers()
    package = package_0_5(
        affine_graph(("n", 3, 5, 7), gain=2, element=TensorProto.FLOAT16), raw, raw, axes=AXES
    )

    found = run(package, raw)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 2 * raw, rtol=2e-3)


@pytest.mark.parametrize(
    "names", [("raw", "finished"), ("finished", "raw"), ("parfocal/x", "y"), ("scaled_raw", "raw")]
)
def test_names_of_the_graph_may_be_those_of_the_description(names: tuple[str, str]) -> None:
    raw = numbers()
    model = affine_graph(("n", 3, 5, 7), gain=2, names=names)
    package = package_0_5(model, raw, raw, axes=AXES, preprocessing=[new("scale_linear", gain=3)])

    found = run(package, raw)

    np.testing.assert_allclose(found, 6 * raw, rtol=1e-6)


def test_branches_of_a_graph_see_the_processed_input() -> None:
    raw = numbers()
    branches: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["raw", "raw"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, operator in (("then", "Add"), ("else", "Mul"))
    }
    model = graph(
        [helper.make_node("If", ["yes"], ["y"], **branches)],
        inputs=[("raw", TensorProto.FLOAT, ("n", 3, 5, 7))],
        outputs=[("y", TensorProto.FLOAT, ("n", 3, 5, 7))],
        constants=[helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )
    step = new("scale_linear", offset=1.0)

    found = run(package_0_5(model, raw, raw, axes=AXES, preprocessing=[step]), raw)

    np.testing.assert_allclose(found, 2 * (raw + 1), rtol=1e-6)


def test_constants_that_an_old_file_lists_as_inputs_are_none() -> None:
    raw = numbers()
    model = onnx.load_model_from_string(affine_graph(("n", 3, 5, 7), gain=2, opset=9))
    model.ir_version = 3
    for name in ("gain", "offset"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    package = package_0_5(model.SerializeToString(), raw, raw, axes=AXES)

    np.testing.assert_allclose(run(package, raw), 2 * raw, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_doubles_stay_doubles(name: str) -> None:
    raw = np.random.default_rng(3).normal(size=SHAPE)
    model = affine_graph(("n", 3, "y", "x"), element=TensorProto.DOUBLE)
    package = package_0_5(model, raw, raw, axes=AXES, step=1)

    found = run(package.with_steps("postprocessing", [CASES[name].new]), raw)

    assert found.dtype == np.float64
    np.testing.assert_allclose(found, CASES[name].expected(raw), rtol=1e-9, atol=1e-12)
