from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_packages import (
    CELLS_SHAPE,
    PackageFiles,
    affine_graph,
    cells_package,
    cells_package_0_4,
    cells_pixels,
    cells_probability,
    npy,
    package_0_5,
)
from parfocal_runtime.errors import InvalidInput
from parfocal_runtime.models.card_yaml import sha256
from parfocal_runtime.models.loading import LoadedModel
from parfocal_runtime.models.packages import publishing
from parfocal_runtime.models.packages.publishing import publish_package
from parfocal_runtime.models.repository import ModelRepository
from parfocal_runtime.store import LocalStore

Floats = npt.NDArray[np.float32]

FREE = ("n", 1, "z", "y", "x")


def published(path: Path, store: LocalStore) -> LoadedModel:
    return ModelRepository(store).load("cells", publish_package(store, "cells", path))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize("make", [cells_package, cells_package_0_4])
def test_a_package_becomes_a_base_model_that_takes_raw_cells_pixels(
    make: Callable[[], PackageFiles], tmp_path: Path, store: LocalStore
) -> None:
    model = published(make().as_zip(tmp_path / "cells.zip"), store)

    bright = cells_pixels() + 100
    (found,) = model.session.run({"raw": bright}).values()
    np.testing.assert_allclose(found, cells_probability(bright), rtol=1e-4)
    assert (model.card.kind, model.card.halo) == ("base", (2, 2, 2))
    assert [tensor.name for tensor in (*model.card.inputs, *model.card.outputs)] == [
        "raw",
        "finished",
    ]


@pytest.mark.parametrize(
    ("halo", "step", "window"),
    [
        (1, 2, (8, 16, 16)),
        (2, 2, (16, 16, 16)),
        (2, 0, (8, 16, 16)),
        (2, 3, (17, 16, 16)),
    ],
)
def test_a_window_grows_until_its_halo_leaves_enough_of_it(
    halo: int, step: int, window: tuple[int, ...], tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package(halo=halo, step=step)

    assert published(package.as_zip(tmp_path / "cells.zip"), store).card.window == window


def test_a_window_that_the_graph_does_not_take_is_not_used(
    tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package()
    of_rank(*CELLS_SHAPE)(package)
    package.with_steps("preprocessing", []).with_steps("postprocessing", [])
    replaced("out.npy", npy(cells_pixels() / 255), role="outputs")(package)
    package.with_steps("postprocessing", [{"id": "scale_linear", "kwargs": {"gain": 1 / 255}}])

    model = published(package.as_zip(tmp_path / "cells.zip"), store)

    assert (model.card.kind, model.card.window) == ("base", CELLS_SHAPE[2:])


def test_the_card_keeps_what_the_package_says(tmp_path: Path, store: LocalStore) -> None:
    package = cells_package()
    model = published(package.as_zip(tmp_path / "cells.zip"), store)

    card = model.card
    assert (card.license, card.authors) == ("MIT", ("Ada Lovelace",))
    assert card.description == "Grey values, scaled."
    assert card.voxel_size_nm == pytest.approx((50, 50, 50))
    assert [(axis.least, axis.step) for axis in card.inputs[0].axes[2:]] == [
        (6, 2),
        (14, 2),
        (14, 2),
    ]
    np.testing.assert_array_equal(card.inputs[0].test, cells_pixels())
    np.testing.assert_array_equal(card.outputs[0].test, cells_probability(cells_pixels()))
    assert model.lineage == {
        "source": "cells.zip",
        "weights_sha256": sha256(package.files["weights.onnx"]),
        "package": {
            "name": "Affine",
            "format_version": "0.5.3",
            "cite": ["A paper https://example.org/paper"],
        },
    }


def test_a_folder_and_an_archive_with_one_folder_in_it_are_taken_too(
    tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package()
    package.name = "bioimageio.yaml"

    first = publish_package(store, "cells", package.as_folder(tmp_path / "cells"))
    second = publish_package(store, "cells", package.as_zip(tmp_path / "cells.zip", top="cells/"))

    repository = ModelRepository(store)
    assert (first, second) == (1, 2)
    assert repository.read("cells", 1).model == repository.read("cells", 2).model


def test_the_same_archive_is_one_version_however_often_it_is_published(
    tmp_path: Path, store: LocalStore
) -> None:
    archive = cells_package().as_zip(tmp_path / "cells.zip")

    assert {publish_package(store, "cells", archive) for _ in range(2)} == {1}


def test_weights_beside_the_graph_are_put_inside(tmp_path: Path, store: LocalStore) -> None:
    package = with_external_data(cells_package())
    model = published(package.as_zip(tmp_path / "cells.zip"), store)

    kept = onnx.load_model_from_string(store.read("models/cells/1/model.onnx"))
    assert not any(tensor.external_data for tensor in kept.graph.initializer)
    (found,) = model.session.run({"raw": cells_pixels()}).values()
    np.testing.assert_allclose(found, cells_probability(cells_pixels()), rtol=1e-4)


@pytest.mark.parametrize(
    ("finished", "axes"),
    [
        (cells_pixels() * 2, ("batch", "channel", "z", "y", "x")),
        (cells_pixels() * 2, ("batch", "channel", "x", "y", "z")),
    ],
    ids=["no probabilities", "axes in another order"],
)
def test_what_cannot_predict_on_images_is_published_as_another_kind(
    finished: Floats, axes: tuple[str, ...], tmp_path: Path, store: LocalStore
) -> None:
    package = package_0_5(affine_graph(FREE, gain=2.0), cells_pixels(), finished, axes=axes)

    assert published(package.as_folder(tmp_path / "cells"), store).card.kind == "other"


def test_a_section_model_is_published_and_runs(tmp_path: Path, store: LocalStore) -> None:
    raw = cells_pixels((1, 1, 16, 16))
    axes = ("batch", "channel", "y", "x")
    package = package_0_5(affine_graph(("n", 1, "y", "x"), gain=2.0), raw, raw * 2, axes=axes)

    model = published(package.as_folder(tmp_path / "cells"), store)

    assert model.card.window == (16, 16)
    np.testing.assert_array_equal(model.session.run({"raw": raw})["finished"], raw * 2)


def test_a_difference_that_the_package_allows_is_kept_as_the_self_test(
    tmp_path: Path, store: LocalStore
) -> None:
    package = package_0_5(affine_graph(FREE, gain=2.0), cells_pixels(), cells_pixels() * 2 * 1.005)
    allowed = {"relative_tolerance": 0.01, "absolute_tolerance": 0.001}
    package.description["config"] = {"bioimageio": {"reproducibility_tolerance": [allowed]}}

    model = published(package.as_folder(tmp_path / "cells"), store)

    np.testing.assert_array_equal(model.card.outputs[0].test, cells_pixels() * 2)


def with_external_data(package: PackageFiles, location: str = "weights.data") -> PackageFiles:
    """Move the constant `gain` of a package's graph into another file."""
    model = onnx.load_model_from_string(package.files["weights.onnx"])
    gain = model.graph.initializer[0]
    package.files["weights.data"] = b"...." + gain.raw_data
    gain.ClearField("raw_data")
    gain.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "4"), ("length", "4")):
        gain.external_data.add(key=key, value=value)
    package.files["weights.onnx"] = model.SerializeToString()
    weights = package.description["weights"]["onnx"]
    weights["sha256"] = sha256(package.files["weights.onnx"])
    weights["external_data"] = {
        "source": "weights.data",
        "sha256": sha256(package.files["weights.data"]),
    }
    return package


Change = Callable[[PackageFiles], object]


def set_at(*path: Any, to: Any) -> Change:
    """Set a value of the description."""

    def change(package: PackageFiles) -> None:
        inner: Any = package.description
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


def replaced(name: str, content: bytes, *, role: str = "inputs") -> Change:
    """Replace a test tensor, with the sha256 that goes with it."""

    def change(package: PackageFiles) -> None:
        package.files[name] = content
        package.description[role][0]["test_tensor"]["sha256"] = sha256(content)

    return change


def preprocessed(name: str, **kwargs: Any) -> Change:
    return set_at("inputs", 0, "preprocessing", to=[{"id": name, "kwargs": kwargs}])


def postprocessed(name: str, **kwargs: Any) -> Change:
    return set_at("outputs", 0, "postprocessing", to=[{"id": name, "kwargs": kwargs}])


def without(name: str) -> Change:
    return lambda package: package.files.pop(name)


def described_as(content: bytes) -> Change:
    """Give the package other words for a description, which counts before `rdf.yaml`."""
    return lambda package: package.files.update({"bioimageio.yaml": content})


def huge_header() -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
    )
    return buffer.getvalue() + b"\0" * 64


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def not_a_number() -> Floats:
    raw = cells_pixels()
    raw[0, 0, 0, 0, 0] = np.nan
    return raw


def of_opset(opset: int) -> Change:
    def change(package: PackageFiles) -> None:
        package.files["weights.onnx"] = affine_graph(FREE, opset=opset)
        package.description["weights"]["onnx"]["sha256"] = sha256(package.files["weights.onnx"])

    return change


def of_rank(*shape: int | str) -> Change:
    def change(package: PackageFiles) -> None:
        package.files["weights.onnx"] = affine_graph(shape)
        package.description["weights"]["onnx"]["sha256"] = sha256(package.files["weights.onnx"])

    return change


def both(*changes: Change) -> Change:
    return lambda package: [change(package) for change in changes]


def aliases() -> bytes:
    """YAML of a few hundred bytes that stands for ten million values."""
    rows = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    rows += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 7)]
    return "\n".join([*rows, "type: model"]).encode()


STARDIST = {"prob_threshold": 0.5, "nms_threshold": 0.4, "n_rays": 32, "grid": [1, 1], "b": 2}

REFUSED: dict[str, tuple[Change, str]] = {
    "no description": (lambda package: setattr(package, "name", "model.yml"), "bioimageio.yaml"),
    "no YAML": (described_as(b"a: [1"), "is not YAML"),
    "bytes": (described_as(b"\xff\xfe\x00"), "is not YAML"),
    "deep YAML": (described_as(b"[" * 100_000), "is not YAML"),
    "a list": (described_as(b"- type: model"), "not a mapping"),
    "aliases": (described_as(aliases()), "too many values"),
    "a large description": (described_as(b"a: 1\n" + b"#" * (1 << 21)), "more than 1048576 bytes"),
    "another type": (set_at("type", to="dataset"), "type: it describes no model"),
    "an old version": (set_at("format_version", to="0.3.6"), "format_version"),
    "a future version": (set_at("format_version", to="1.0.0"), "format_version"),
    "no weights": (set_at("weights", to={}), "weights"),
    "no inputs": (set_at("inputs", to=[]), "inputs"),
    "no test tensor": (set_at("inputs", 0, "test_tensor", to=None), "test_tensor"),
    "another model's output": (set_at("inputs", 0, "output_of", to="other"), "another model"),
    "wrong weights": (set_at("weights", "onnx", "sha256", to="0" * 64), "weights.onnx.*sha256"),
    "wrong test": (set_at("inputs", 0, "test_tensor", "sha256", to="0" * 64), "in.npy.*sha256"),
    "missing weights": (without("weights.onnx"), "weights.onnx: the package has no such file"),
    "missing test": (without("out.npy"), "out.npy: the package has no such file"),
    "a path upwards": (set_at("weights", "onnx", "source", to="../weights.onnx"), "inside"),
    "an absolute path": (set_at("weights", "onnx", "source", to="/etc/hostname"), "inside"),
    "another system's path": (set_at("weights", "onnx", "source", to="..\\w.onnx"), "inside"),
    "an address": (
        set_at("inputs", 0, "test_tensor", "source", to="https://example.org/in.npy"), "inside",
    ),
    "weights of elsewhere": (
        lambda package: with_external_data(package, "../weights.data"), "inside the package",
    ),
    "weights that end early": (
        both(with_external_data, lambda package: package.files.update({"weights.data": b"......"}),
             lambda package: package.description["weights"]["onnx"].pop("external_data")),
        "ends before",
    ),
    "no ONNX": (
        both(lambda package: package.files.update({"weights.onnx": b"nothing"}),
             set_at("weights", "onnx", "sha256", to=sha256(b"nothing"))),
        "no ONNX file",
    ),
    "names that are no text": (
        both(lambda package: package.files.update(
                 {"weights.onnx": affine_graph(FREE).replace(b"input.1", b"\xffnput.1")}),
             lambda package: package.description["weights"]["onnx"].pop("sha256")),
        "not UTF-8",
    ),
    "no array": (replaced("in.npy", b"nothing"), "in.npy: it is no array"),
    "objects": (replaced("in.npy", pickled()), "in.npy: it is no array"),
    "a header that lies": (replaced("in.npy", huge_header()), "in.npy: it is no array"),
    "NaN in a test": (replaced("in.npy", npy(not_a_number())), "in.npy.*not finite"),
    "a test of another rank": (replaced("in.npy", npy(cells_pixels()[0])), "in.npy.*axes"),
    "a test of another size": (
        replaced("in.npy", npy(cells_pixels((1, 3, 8, 16, 16)))), "in.npy.*channel",
    ),
    "text": (replaced("in.npy", npy(np.full(CELLS_SHAPE, "a"))), "in.npy.*elements"),
    "complex": (replaced("in.npy", npy(cells_pixels() * 1j)), "in.npy.*elements"),
    "a size that the graph refuses": (
        both(of_rank("n", 1, 8, 16, 16), set_at("inputs", 0, "axes", 2, "size", to=9),
             replaced("in.npy", npy(cells_pixels((1, 1, 9, 16, 16))))),
        "weights.onnx|outputs",
    ),
    "another output": (
        replaced("out.npy", npy(cells_pixels() * 0), role="outputs"), "out.npy.*does not reproduce",
    ),
    "an output of another shape": (
        replaced("out.npy", npy(cells_pixels((2, 1, 8, 16, 16))), role="outputs"), "shape",
    ),
    "another rank": (of_rank("n", 1, "y", "x"), "inputs.raw.axes"),
    "an old operator set": (
        both(of_opset(9), preprocessed("scale_range", min_percentile=1.0)), "operator set 11",
    ),
    "a very old operator set": (of_opset(8), "operator set 9"),
    "stardist": (postprocessed("stardist_postprocessing", **STARDIST), "stardist_postprocessing"),
    "unheard-of processing": (preprocessed("sharpen"), "sharpen"),
    "statistics of a dataset": (
        preprocessed("zero_mean_unit_variance", axes=["batch", "y", "x"]), "batch or dataset",
    ),
    "no axes": (preprocessed("zero_mean_unit_variance", axes=[]), "no axes"),
    "softmax over nothing": (postprocessed("softmax", axis="time"), "no axis 'time'"),
    "too many numbers": (
        preprocessed("scale_linear", gain=[1.0, 2.0], axis="channel"), "do not fit",
    ),
    "an unknown reference": (
        postprocessed("scale_mean_variance", reference_tensor="finished"), "finished",
    ),
    "NaN in an argument": (preprocessed("scale_linear", gain=float("nan")), "not a finite number"),
    "infinity in an argument": (preprocessed("clip", max=float("inf")), "not a finite number"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize(("change", "cause"), REFUSED.values(), ids=REFUSED)
def test_a_package_that_cannot_be_used_is_refused_and_leaves_nothing(
    change: Change, cause: str, kind: str, tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package(step=0, halo=0)
    change(package)
    (tmp_path / "weights.onnx").write_bytes(package.files.get("weights.onnx", b""))
    (tmp_path / "weights.data").write_bytes(b"........")
    if kind == "zip":
        path = package.as_zip(tmp_path / "cells.zip")
    else:
        path = package.as_folder(tmp_path / "cells")

    with pytest.raises(InvalidInput, match=cause) as caught:
        publish_package(store, "cells", path)

    assert caught.value.reason == "ERROR_REASON_INVALID_MODEL"
    assert caught.value.metadata["field"]
    assert not list(store.list())


@pytest.mark.parametrize(
    ("path", "value", "cause"),
    [
        (("inputs", 0, "shape"), [1, 1, 8, 16], "inputs.0"),
        (("outputs", 0, "halo"), [2, 2], "halo"),
        (("test_outputs",), [], "test_outputs"),
    ],
)
def test_lists_of_format_0_4_that_do_not_fit_are_refused(
    path: tuple[Any, ...], value: object, cause: str, tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package_0_4()
    set_at(*path, to=value)(package)

    with pytest.raises(InvalidInput, match=cause):
        publish_package(store, "cells", package.as_folder(tmp_path / "cells"))


JUNK: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    "..",
    "é",
    "channel",
    [],
    [[]],
    {},
    {1: 2},
    [None],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside another."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else []
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from places(inner, (*path, key))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), make=st.sampled_from([cells_package, cells_package_0_4]))
def test_whatever_stands_in_a_description_it_is_published_or_refused(
    data: st.DataObject, make: Callable[[], PackageFiles], tmp_path: Path, store: LocalStore
) -> None:
    package = make()
    place = data.draw(st.sampled_from(list(places(package.description))))
    set_at(*place, to=data.draw(st.sampled_from(JUNK)))(package)

    with suppress(InvalidInput):
        publish_package(store, "cells", package.as_zip(tmp_path / "cells.zip"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_an_archive_it_is_published_or_refused(
    data: st.DataObject, tmp_path: Path, store: LocalStore
) -> None:
    archive = cells_package().as_zip(tmp_path / "cells.zip")
    content = bytearray(archive.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content)

    with suppress(InvalidInput):
        publish_package(store, "cells", archive)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_graph_it_is_published_or_refused(
    data: st.DataObject, tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package()
    graph = bytearray(package.files["weights.onnx"])
    graph[data.draw(st.integers(0, len(graph) - 1))] = data.draw(st.integers(0, 255))
    package.files["weights.onnx"] = bytes(graph)
    del package.description["weights"]["onnx"]["sha256"]

    with suppress(InvalidInput):
        publish_package(store, "cells", package.as_zip(tmp_path / "cells.zip"))


@pytest.mark.parametrize("mode", ["zero_mean_unit_variance", "scale_range"])
def test_statistics_of_a_dataset_are_refused_in_format_0_4(
    mode: str, tmp_path: Path, store: LocalStore
) -> None:
    package = cells_package_0_4()
    step = {"name": mode, "kwargs": {"mode": "per_dataset", "axes": "czyx"}}
    package.with_steps("preprocessing", [step])

    with pytest.raises(InvalidInput, match="per_dataset"):
        publish_package(store, "cells", package.as_folder(tmp_path / "cells"))


def test_what_is_no_archive_is_refused(tmp_path: Path, store: LocalStore) -> None:
    (tmp_path / "cells.zip").write_bytes(affine_graph(FREE))

    with pytest.raises(InvalidInput, match="no zip archive that can be read"):
        publish_package(store, "cells", tmp_path / "cells.zip")


def test_a_damaged_archive_is_refused(tmp_path: Path, store: LocalStore) -> None:
    archive = cells_package().as_zip(tmp_path / "cells.zip")
    content = bytearray(archive.read_bytes())
    content[2000:2100] = bytes(100)
    archive.write_bytes(content)

    with pytest.raises(InvalidInput):
        publish_package(store, "cells", archive)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_archive_with_two_files_of_one_name_is_refused(
    tmp_path: Path, store: LocalStore
) -> None:
    archive = cells_package().as_zip(tmp_path / "cells.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("weights.onnx", b"another")

    with pytest.raises(InvalidInput, match="two files of one name"):
        publish_package(store, "cells", archive)


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path, store: LocalStore) -> None:
    package = cells_package()
    weights = package.files.pop("weights.onnx")
    (tmp_path / "elsewhere.onnx").write_bytes(weights)
    archive = package.as_zip(tmp_path / "cells.zip")
    link = zipfile.ZipInfo("weights.onnx")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, str(tmp_path / "elsewhere.onnx"))

    with pytest.raises(InvalidInput, match=r"weights\.onnx: it is a link"):
        publish_package(store, "cells", archive)


def test_a_link_in_a_folder_must_not_lead_out_of_it(tmp_path: Path, store: LocalStore) -> None:
    package = cells_package()
    (tmp_path / "elsewhere.onnx").write_bytes(package.files.pop("weights.onnx"))
    folder = package.as_folder(tmp_path / "cells")
    (folder / "weights.onnx").symlink_to(tmp_path / "elsewhere.onnx")

    with pytest.raises(InvalidInput, match="leads out of the package"):
        publish_package(store, "cells", folder)


def test_a_link_to_itself_is_refused(tmp_path: Path, store: LocalStore) -> None:
    package = cells_package()
    del package.files["weights.onnx"]
    folder = package.as_folder(tmp_path / "cells")
    (folder / "weights.onnx").symlink_to("weights.onnx")

    with pytest.raises(InvalidInput, match=r"weights\.onnx"):
        publish_package(store, "cells", folder)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_fills_memory(
    tmp_path: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real bound takes half a gigabyte to reach.
    monkeypatch.setattr(publishing, "MOST_TENSOR_BYTES", 1 << 20)
    package = cells_package()
    replaced("in.npy", bytes(1 << 22))(package)

    with pytest.raises(InvalidInput, match=r"in\.npy: it has more than 1048576 bytes"):
        publish_package(store, "cells", package.as_zip(tmp_path / "cells.zip"))
