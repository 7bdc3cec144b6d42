from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
import tifffile
import zarr
from ome_zarr_models.v05 import Image

from parfocal import (
    ConflictError,
    ImageError,
    ImportedImage,
    InvalidRequestError,
    NotFoundError,
    describe_image,
    import_image,
)

NAMES: dict[str, Any] = {"project": "p", "image": "i"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def volume(shape: tuple[int, int, int] = (18, 300, 520), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write(path: Path, data: np.ndarray) -> Path:
    tifffile.imwrite(path, data, photometric="minisblack")
    return path


def group_of(store: Path, imported: ImportedImage) -> Any:
    return zarr.open_group(store / imported.group, mode="r")


def test_an_imported_image_is_valid_ome_zarr_with_the_same_voxels(
    tmp_path: Path, store: Path
) -> None:
    data = volume()

    imported = import_image(
        write(tmp_path / "a.tif", data), store=store, voxel_size_nm=(50, 4.5, 4.0), **NAMES
    )

    assert imported.path == "projects/p/images/i.ome.zarr/0"
    assert (imported.shape, imported.levels) == ((18, 300, 520), 3)
    group = group_of(store, imported)
    assert isinstance(ome_zarr_models.open_ome_zarr(group, version="0.5"), Image)
    np.testing.assert_array_equal(group["0"][:], data)
    assert [group[str(level)].shape for level in range(3)] == [
        (18, 300, 520),
        (18, 150, 260),
        (18, 75, 130),
    ]


def test_arrays_are_sharded_and_their_axes_named(tmp_path: Path, store: Path) -> None:
    imported = import_image(write(tmp_path / "a.tif", volume()), store=store, **NAMES)

    array = group_of(store, imported)["0"]

    assert array.shards == (16, 384, 640)
    assert array.chunks == (16, 128, 128)
    assert array.metadata.dimension_names == ("z", "y", "x")


def test_levels_carry_the_scale_and_the_place_of_their_first_voxel(
    tmp_path: Path, store: Path
) -> None:
    imported = import_image(
        write(tmp_path / "a.tif", volume()), store=store, voxel_size_nm=(50, 4.5, 4.0), **NAMES
    )

    multiscale = group_of(store, imported).attrs["ome"]["multiscales"][0]

    assert {axis["unit"] for axis in multiscale["axes"]} == {"nanometer"}
    assert [d["coordinateTransformations"] for d in multiscale["datasets"]] == [
        [{"type": "scale", "scale": [50, 4.5, 4.0]}],
        [
            {"type": "scale", "scale": [50, 9.0, 8.0]},
            {"type": "translation", "translation": [0.0, 2.25, 2.0]},
        ],
        [
            {"type": "scale", "scale": [50, 18.0, 16.0]},
            {"type": "translation", "translation": [0.0, 6.75, 6.0]},
        ],
    ]


def test_an_unknown_voxel_size_is_not_made_up(tmp_path: Path, store: Path) -> None:
    imported = import_image(write(tmp_path / "a.tif", volume((2, 8, 8))), store=store, **NAMES)

    assert imported.voxel_size_nm is None
    axes = group_of(store, imported).attrs["ome"]["multiscales"][0]["axes"]
    assert all("unit" not in axis for axis in axes)


def test_coarser_levels_do_not_depend_on_where_slabs_end(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A whole test volume fits one slab; a small limit makes it several.
    monkeypatch.setattr("parfocal._images.writing._SLAB_BYTES", 1)
    data = volume((17, 2100, 300))

    imported = import_image(write(tmp_path / "a.tif", data), store=store, **NAMES)

    group = group_of(store, imported)
    np.testing.assert_array_equal(group["0"][:], data)
    level = data
    for path in ("1", "2", "3", "4"):
        even = np.pad(level, ((0, 0), (0, level.shape[1] % 2), (0, level.shape[2] % 2)), "edge")
        windows = even.reshape(17, even.shape[1] // 2, 2, even.shape[2] // 2, 2)
        level = np.floor(windows.mean((2, 4)) + 0.5).astype(np.uint8)
        np.testing.assert_array_equal(group[path][:], level)


def test_sixteen_bits_become_bytes_and_the_range_is_recorded(tmp_path: Path, store: Path) -> None:
    data = np.linspace(500, 1500, 2 * 50 * 60).astype(np.uint16).reshape(2, 50, 60)

    imported = import_image(write(tmp_path / "a.tif", data), store=store, **NAMES)

    intensity = imported.record["intensity"]
    assert intensity["source_dtype"] == "uint16"
    assert (intensity["low"], intensity["high"]) == pytest.approx((505, 1495), abs=1)
    written = group_of(store, imported)["0"][:]
    assert written.dtype == np.uint8
    expected = np.clip((data - intensity["low"]) / (intensity["high"] - intensity["low"]), 0, 1)
    np.testing.assert_allclose(written, expected * 255, atol=0.51)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 1, 255)], ids=str)
def test_a_mask_becomes_ones_whatever_its_foreground_was(
    tmp_path: Path, store: Path, values: tuple[int, ...]
) -> None:
    data = volume((2, 300, 20))
    mask = np.random.default_rng(1).choice(np.array(values, np.uint8), data.shape)

    imported = import_image(
        write(tmp_path / "a.tif", data), truth=write(tmp_path / "m.tif", mask), store=store, **NAMES
    )

    assert imported.truth == "projects/p/images/i.ome.zarr/labels/truth/0"
    np.testing.assert_array_equal(np.asarray(zarr.open_array(store / imported.truth)[:]), mask != 0)


def test_instances_keep_their_numbers_and_their_levels_match_the_image(
    tmp_path: Path, store: Path
) -> None:
    data = volume((2, 300, 20))
    truth = np.zeros(data.shape, np.uint32)
    truth[0, :9], truth[1, 20:29] = 3, 70000

    imported = import_image(
        write(tmp_path / "a.tif", data),
        truth=write(tmp_path / "t.tif", truth),
        store=store,
        **NAMES,
    )

    model = Image.from_zarr(group_of(store, imported))
    assert model.labels is not None
    assert model.labels.label_paths == ["truth"]
    labels = group_of(store, imported)["labels/truth"]
    assert labels["0"].dtype == np.uint32
    np.testing.assert_array_equal(labels["0"][:], truth)
    assert set(np.unique(labels["1"][:])) == {0, 3, 70000}


def test_truth_of_another_shape_is_refused_before_anything_is_written(
    tmp_path: Path, store: Path
) -> None:
    image = write(tmp_path / "a.tif", volume((3, 8, 9)))
    truth = write(tmp_path / "t.tif", volume((3, 8, 8)))

    with pytest.raises(ImageError, match=r"t\.tif.*\(3, 8, 9\).*got \(3, 8, 8\)") as caught:
        import_image(image, truth=truth, store=store, **NAMES)

    assert caught.value.reason == "ERROR_REASON_SHAPE_MISMATCH"
    assert not store.exists()


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_truth_that_is_no_object_number_is_refused(
    tmp_path: Path, store: Path, dtype: type[np.generic]
) -> None:
    data = volume((2, 8, 8))

    with pytest.raises(ImageError, match="whole and not negative"):
        import_image(
            write(tmp_path / "a.tif", data),
            truth=write(tmp_path / "t.tif", np.full(data.shape, -1, dtype)),
            store=store,
            **NAMES,
        )


def test_an_image_of_that_name_is_kept_unless_overwriting_is_asked_for(
    tmp_path: Path, store: Path
) -> None:
    first, second = volume((2, 8, 8)), volume((3, 9, 9), seed=1)
    import_image(write(tmp_path / "a.tif", first), store=store, **NAMES)
    other = write(tmp_path / "b.tif", second)

    with pytest.raises(ConflictError) as caught:
        import_image(other, store=store, **NAMES)
    imported = import_image(other, store=store, overwrite=True, **NAMES)

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"
    np.testing.assert_array_equal(group_of(store, imported)["0"][:], second)


def test_what_an_import_left_when_it_broke_is_not_an_image_and_gives_way(
    tmp_path: Path, store: Path
) -> None:
    sections = tmp_path / "sections"
    sections.mkdir()
    for z in range(17):
        write(sections / f"{z}.tif", volume((1, 40, 40), seed=z)[0])
    last = sections / "16.tif"
    whole = last.read_bytes()
    # The header is whole, so the damage shows when the last section is decoded.
    os.truncate(last, len(whole) - 100)
    with pytest.raises(ImageError, match=r"16\.tif"):
        import_image(sections, store=store, **NAMES)
    with pytest.raises(NotFoundError):
        describe_image(store, **NAMES)
    last.write_bytes(whole)

    imported = import_image(sections, store=store, **NAMES)

    assert imported.shape == (17, 40, 40)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parfocal._images.claim._BEAT_SECONDS", 0.02)
    monkeypatch.setattr("parfocal._images.claim._LOOK_SECONDS", 0.05)
    monkeypatch.setattr("parfocal._images.claim._SILENCE_SECONDS", 0.4)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.usefixtures("hasty")
def test_while_an_image_is_imported_another_of_its_name_is_refused(
    tmp_path: Path, store: Path, overwrite: bool
) -> None:
    data = volume((2, 300, 20))
    mine, other = write(tmp_path / "a.tif", data), write(tmp_path / "b.tif", 255 - data)
    if overwrite:
        import_image(other, store=store, **NAMES)
    refused: list[ConflictError] = []

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage == "writing image":
            with pytest.raises(ConflictError) as caught:
                import_image(other, store=store, overwrite=True, **NAMES)
            refused.append(caught.value)
            # Longer than a holder may be silent.
            time.sleep(0.6)
            with pytest.raises(ConflictError):
                import_image(other, store=store, **NAMES)

    imported = import_image(mine, store=store, overwrite=overwrite, progress=meanwhile, **NAMES)

    assert refused[0].reason == "ERROR_REASON_ARTIFACT_EXISTS"
    assert refused[0].message == (
        "there is an image 'i' in project 'p' already: another process is importing it now"
    )
    assert refused[0].metadata == {"name": imported.group}
    np.testing.assert_array_equal(group_of(store, imported)["0"][:], data)
    assert [each.name for each in (store / imported.group).parent.iterdir()] == ["i.ome.zarr"]


@pytest.mark.usefixtures("hasty")
def test_an_import_that_was_killed_gives_way_after_a_while(tmp_path: Path, store: Path) -> None:
    claims = store / "projects/p/images"
    claims.mkdir(parents=True)
    (claims / ".parfocal-i.ome.zarr.claim").write_bytes(b"somebody 17")

    imported = import_image(write(tmp_path / "a.tif", volume((2, 8, 8))), store=store, **NAMES)

    assert imported.shape == (2, 8, 8)
    assert [each.name for each in claims.iterdir()] == ["i.ome.zarr"]


@pytest.mark.usefixtures("hasty")
def test_an_import_that_was_taken_for_dead_does_not_go_on(tmp_path: Path, store: Path) -> None:
    claim = store / "projects/p/images/.parfocal-i.ome.zarr.claim"

    def taken(stage: str, done: int, total: int) -> None:
        claim.write_bytes(b"somebody 1")

    with pytest.raises(ConflictError, match="another process took over") as caught:
        import_image(
            write(tmp_path / "a.tif", volume((2, 8, 8))), store=store, progress=taken, **NAMES
        )

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_EXISTS"
    assert claim.read_bytes() == b"somebody 1"
    with pytest.raises(NotFoundError):
        describe_image(store, **NAMES)


@pytest.mark.parametrize("broken", ["section", "truth", "interrupted"])
def test_an_import_that_fails_leaves_the_image_that_was_there(
    tmp_path: Path, store: Path, broken: str
) -> None:
    data = volume((17, 40, 40))
    old = write(tmp_path / "old.tif", data)
    imported = import_image(old, truth=old, store=store, **NAMES)
    sections = tmp_path / "sections"
    sections.mkdir()
    for z in range(17):
        write(sections / f"{z}.tif", volume((1, 40, 40), seed=z)[0])
    truth = write(tmp_path / "t.tif", np.full(data.shape, -1 if broken == "truth" else 1, np.int16))
    if broken == "section":
        os.truncate(sections / "16.tif", 1600)

    def interrupt(stage: str, done: int, total: int) -> None:
        if broken == "interrupted" and stage == "writing truth":
            raise KeyboardInterrupt

    with pytest.raises((ImageError, KeyboardInterrupt)):
        import_image(
            sections, truth=truth, store=store, overwrite=True, progress=interrupt, **NAMES
        )

    assert describe_image(store, **NAMES) == imported
    np.testing.assert_array_equal(group_of(store, imported)["0"][:], data)
    np.testing.assert_array_equal(group_of(store, imported)["labels/truth/0"][:], data)


def test_an_image_that_replaces_another_leaves_nothing_beside_it(
    tmp_path: Path, store: Path
) -> None:
    old = write(tmp_path / "a.tif", volume((2, 8, 8)))
    import_image(old, truth=old, store=store, **NAMES)

    imported = import_image(
        write(tmp_path / "b.tif", volume((3, 9, 9))), store=store, overwrite=True, **NAMES
    )

    assert imported.truth == ""
    assert [each.name for each in (store / imported.group).parent.iterdir()] == ["i.ome.zarr"]


def test_an_imported_image_can_be_imported_again(tmp_path: Path, store: Path) -> None:
    data = volume((2, 300, 20))
    first = import_image(
        write(tmp_path / "a.tif", data), store=store, voxel_size_nm=(50, 4, 4), **NAMES
    )

    again = import_image(store / first.group, store=store, project="p", image="copy")

    assert again.voxel_size_nm == (50.0, 4.0, 4.0)
    np.testing.assert_array_equal(group_of(store, again)["0"][:], data)


def test_progress_reaches_the_end_of_every_stage(tmp_path: Path, store: Path) -> None:
    data = volume((20, 30, 40)).astype(np.uint16)
    told: list[tuple[str, int, int]] = []

    import_image(
        write(tmp_path / "a.tif", data),
        truth=write(tmp_path / "t.tif", data),
        store=store,
        progress=lambda *step: told.append(step),
        **NAMES,
    )

    ends = {stage: (done, total) for stage, done, total in told}
    assert list(ends) == ["measuring", "writing image", "measuring truth", "writing truth"]
    assert all(done == total for done, total in ends.values())


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "a..b", "-a", "x" * 64])
def test_names_that_cannot_be_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        import_image(tmp_path, project="p", image=name, store=tmp_path)

    assert caught.value.reason == "ERROR_REASON_INVALID_NAME"
    assert caught.value.metadata["field"] == "image"


def test_a_store_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="file:///folder or s3://bucket"):
        import_image(tmp_path, store="http://elsewhere/x", **NAMES)


def test_a_voxel_size_must_be_positive(tmp_path: Path, store: Path) -> None:
    with pytest.raises(InvalidRequestError, match="three positive numbers"):
        import_image(
            write(tmp_path / "a.tif", volume((2, 8, 8))),
            store=store,
            voxel_size_nm=(0, 4, 4),
            **NAMES,
        )
