"""Small packages of bioimage.io, in both format versions, that tests write and publish."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import yaml
from onnx import TensorProto, helper, numpy_helper

from onnx_graphs import Shape
from parfocal_runtime.models.card_yaml import sha256
from parfocal_runtime.models.datatypes import Array

_LETTERS = {"batch": "b", "channel": "c", "z": "z", "y": "y", "x": "x"}


@dataclass
class PackageFiles:
    """The files of a package, by path, and its description before it is written down."""

    description: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    name: str = "rdf.yaml"

    def with_steps(self, role: str, steps: Sequence[Any]) -> Self:
        """Set `preprocessing` of the input or `postprocessing` of the output."""
        tensors = self.description["inputs" if role == "preprocessing" else "outputs"]
        tensors[0][role] = list(steps)
        return self

    def content(self) -> dict[str, bytes]:
        """Return all files, with the description among them."""
        return {self.name: yaml.safe_dump(self.description).encode(), **self.files}

    def as_folder(self, folder: Path) -> Path:
        """Write the package into a folder and return that."""
        for name, content in self.content().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    def as_zip(self, file: Path, *, top: str = "") -> Path:
        """Write the package into a zip archive and return that."""
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.content().items():
                archive.writestr(top + name, content)
        return file


def affine_graph(
    shape: Shape,
    *,
    gain: float = 1.0,
    offset: float = 0.0,
    opset: int = 17,
    element: int = TensorProto.FLOAT,
    names: tuple[str, str] = ("input.1", "out"),
) -> bytes:
    """Return a serialised model of `gain * x + offset`, with the names that an exporter gives."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    constants = [
        numpy_helper.from_array(np.asarray(number, dtype), name)
        for name, number in (("gain", gain), ("offset", offset))
    ]
    made = helper.make_graph(
        [
            helper.make_node("Mul", [names[0], "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], [names[1]]),
        ],
        "exported",
        [helper.make_tensor_value_info(names[0], element, shape)],
        [helper.make_tensor_value_info(names[1], element, shape)],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def npy(array: Array) -> bytes:
    """Return the content of a `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def package_0_5(
    model: bytes,
    raw: Array,
    finished: Array,
    *,
    axes: Sequence[str] = ("batch", "channel", "z", "y", "x"),
    preprocessing: Sequence[Mapping[str, Any]] = (),
    postprocessing: Sequence[Mapping[str, Any]] = (),
    halo: int = 0,
    step: int = 0,
) -> PackageFiles:
    """Return a package of format version 0.5 with one input `raw` and one output `finished`.

    Args:
        model: The ONNX file.
        raw: Test input.
        finished: Test output.
        axes: Ids of the axes of both.
        preprocessing: As the description has it.
        postprocessing: As the description has it.
        halo: Of the space axes.
        step: Of the input's space axes; 0 fixes their length.
    """
    files = {"weights.onnx": model, "in.npy": npy(raw), "out.npy": npy(finished)}
    inputs, outputs = [], []
    for axis, side in zip(axes, raw.shape, strict=True):
        size: Any = {"min": side - step, "step": step} if step else side
        inputs.append(_axis_0_5(axis, side, size))
        outputs.append(_axis_0_5(axis, side, side))
        if inputs[-1]["type"] == "space" and (halo or step):
            outputs[-1]["size"] = {"tensor_id": "raw", "axis_id": axis}
            outputs[-1].update({"halo": halo} if halo else {})
    description = {
        **_about("0.5.3"),
        "inputs": [
            {
                "id": "raw",
                "axes": inputs,
                "data": {"type": raw.dtype.name},
                "test_tensor": {"source": "in.npy", "sha256": sha256(files["in.npy"])},
                "preprocessing": [dict(step) for step in preprocessing],
            }
        ],
        "outputs": [
            {
                "id": "finished",
                "axes": outputs,
                "data": {"type": finished.dtype.name},
                "test_tensor": {"source": "out.npy", "sha256": sha256(files["out.npy"])},
                "postprocessing": [dict(step) for step in postprocessing],
            }
        ],
        "weights": {"onnx": _weights(model)},
    }
    return PackageFiles(description, files)


def package_0_4(
    model: bytes,
    raw: Array,
    finished: Array,
    *,
    axes: Sequence[str] = ("batch", "channel", "z", "y", "x"),
    preprocessing: Sequence[Mapping[str, Any]] = (),
    postprocessing: Sequence[Mapping[str, Any]] = (),
    halo: int = 0,
) -> PackageFiles:
    """Return a package of format version 0.4; the arguments are those of `package_0_5`."""
    files = {"weights.onnx": model, "in.npy": npy(raw), "out.npy": npy(finished), "doc.md": b"#"}
    letters = "".join(_LETTERS[axis] for axis in axes)
    margins = [halo if letter in "zyx" else 0 for letter in letters]
    description = {
        **_about("0.4.10"),
        "documentation": "doc.md",
        "inputs": [
            {
                "name": "raw",
                "axes": letters,
                "data_type": raw.dtype.name,
                "shape": [1, *raw.shape[1:]],
                "preprocessing": [dict(step) for step in preprocessing],
            }
        ],
        "outputs": [
            {
                "name": "finished",
                "axes": letters,
                "data_type": finished.dtype.name,
                "shape": [1, *finished.shape[1:]],
                "postprocessing": [dict(step) for step in postprocessing],
                **({"halo": margins} if halo else {}),
            }
        ],
        "test_inputs": ["in.npy"],
        "test_outputs": ["out.npy"],
        "weights": {"onnx": _weights(model)},
    }
    return PackageFiles(description, files)


CELLS_SHAPE = (1, 1, 8, 16, 16)
"""Shape of the test tensors of the packages below."""


def cells_pixels(shape: tuple[int, ...] = CELLS_SHAPE) -> npt.NDArray[np.float32]:
    """Return grey values, always the same."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def cells_probability(raw: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return what numpy makes of (N, 1, Z, Y, X) pixels as the packages below should."""
    axes = (1, 2, 3, 4)
    values = raw.astype(np.float64)
    centred = values - values.mean(axes, keepdims=True)
    unit = centred / (values.std(axes, keepdims=True) + 1e-6)
    return np.asarray(1 / (1 + np.exp(-(2 * unit + 0.5))), np.float32)


def cells_package(**changes: Any) -> PackageFiles:
    """Return a package that standardises a volume, runs a graph, and takes the sigmoid.

    Args:
        **changes: Arguments of `package_0_5`.
    """
    raw = cells_pixels()
    axes = ["channel", "z", "y", "x"]
    return package_0_5(
        affine_graph(("n", 1, "z", "y", "x"), gain=2.0, offset=0.5),
        raw,
        cells_probability(raw),
        preprocessing=[{"id": "zero_mean_unit_variance", "kwargs": {"axes": axes}}],
        postprocessing=[{"id": "sigmoid"}],
        **{"halo": 2, "step": 2, **changes},
    )


def cells_package_0_4() -> PackageFiles:
    """Return the same in format version 0.4."""
    raw = cells_pixels()
    kwargs = {"mode": "per_sample", "axes": "czyx"}
    return package_0_4(
        affine_graph(CELLS_SHAPE, gain=2.0, offset=0.5),
        raw,
        cells_probability(raw),
        preprocessing=[{"name": "zero_mean_unit_variance", "kwargs": kwargs}],
        postprocessing=[{"name": "sigmoid"}],
        halo=2,
    )


def _about(version: str) -> dict[str, Any]:
    return {
        "type": "model",
        "format_version": version,
        "name": "Affine",
        "description": "Grey values, scaled.",
        "authors": [{"name": "Ada Lovelace"}],
        "cite": [{"text": "A paper", "url": "https://example.org/paper"}],
        "license": "MIT",
        "timestamp": "2024-05-01T12:00:00",
    }


def _weights(model: bytes) -> dict[str, Any]:
    return {"source": "weights.onnx", "sha256": sha256(model), "opset_version": 17}


def _axis_0_5(axis: str, side: int, size: Any) -> dict[str, Any]:
    if axis == "batch":
        return {"type": "batch"}
    if axis == "channel":
        return {"type": "channel", "channel_names": [f"channel{i}" for i in range(side)]}
    return {"type": "space", "id": axis, "size": size, "unit": "micrometer", "scale": 0.05}
