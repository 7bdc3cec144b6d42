from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from parfocal import ImageError, open_source

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)


def write_image(
    path: Path,
    data: np.ndarray,
    axes: str,
    *,
    version: str,
    unit: str | None = "micrometer",
    scale: list[float] | None = None,
) -> Path:
    kinds = {"t": "time", "c": "channel"}
    multiscale: dict[str, Any] = {
        "axes": [
            {"name": axis, "type": kinds.get(axis, "space")}
            | ({"unit": unit} if axis in "zyx" and unit else {})
            for axis in axes
        ],
        "datasets": [
            {
                "path": "s0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale or [0.5] * len(axes)}
                ],
            }
        ],
    }
    if version == "0.4":
        group = zarr.open_group(path, mode="w", zarr_format=2)
        group.attrs["multiscales"] = [multiscale | {"version": "0.4"}]
        group.create_array("s0", data=data, chunks=data.shape)
    else:
        group = zarr.open_group(path, mode="w", zarr_format=3)
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
        group.create_array("s0", data=data, chunks=data.shape, dimension_names=list(axes))
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_both_versions_are_read(tmp_path: Path, version: str) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version=version)

    with open_source(path) as source:
        assert source.kind == f"OME-Zarr {version}"
        assert source.voxel_size_nm == (500.0, 500.0, 500.0)
        np.testing.assert_array_equal(source.read(slice(1, 3), slice(2, 4)), VOLUME[1:3, 2:4])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_one_channel_at_one_time_is_read(tmp_path: Path, version: str) -> None:
    data = np.stack([VOLUME, VOLUME + 1])[None]
    path = write_image(tmp_path / "a.ome.zarr", data, "tczyx", version=version)

    with pytest.raises(ImageError, match="2 channels"):
        open_source(path)
    with open_source(path, channel=1) as source:
        np.testing.assert_array_equal(source.read(slice(None)), VOLUME + 1)


def test_several_times_are_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", np.stack([VOLUME] * 3), "tzyx", version="0.5")

    with pytest.raises(ImageError, match="one point along the axis t, got 3"):
        open_source(path)


def test_a_flat_image_gets_one_section(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME[0], "yx", version="0.4")

    with open_source(path) as source:
        np.testing.assert_array_equal(source.read(slice(None)), VOLUME[:1])


def test_axes_without_a_unit_leave_the_voxel_size_open(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version="0.5", unit=None)

    with open_source(path) as source:
        assert source.voxel_size_nm is None


def test_a_file_uri_is_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version="0.5")

    with open_source(path.as_uri()) as source:
        assert source.shape == (4, 5, 6)


def test_a_plain_zarr_group_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)

    with pytest.raises(ImageError, match=r"metadata of an OME-Zarr 0\.5 image"):
        open_source(tmp_path / "a.zarr")


def test_a_folder_called_zarr_without_metadata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()

    with pytest.raises(ImageError, match=r"found neither zarr\.json nor \.zattrs"):
        open_source(tmp_path / "a.zarr")


def test_damaged_metadata_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version="0.5")
    (path / "zarr.json").write_text("{")

    with pytest.raises(ImageError, match="expected a whole OME-Zarr image"):
        open_source(path)


def test_a_missing_level_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version="0.5")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "elsewhere"
    (path / "zarr.json").write_text(json.dumps(document))

    with pytest.raises(ImageError, match="elsewhere"):
        open_source(path)


def test_a_truncated_chunk_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version="0.5")
    chunk = path / "s0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:10])

    with open_source(path) as source, pytest.raises(ImageError, match="whole OME-Zarr"):
        source.read(slice(None))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_that_no_memory_holds_are_refused_before_one_is_read(
    tmp_path: Path, version: str
) -> None:
    path = write_image(tmp_path / "a.ome.zarr", VOLUME, "zyx", version=version)
    file = path / "s0" / ("zarr.json" if version == "0.5" else ".zarray")
    metadata = json.loads(file.read_text())
    grid = metadata["chunk_grid"]["configuration"] if version == "0.5" else metadata
    grid["chunk_shape" if version == "0.5" else "chunks"] = [1 << 10, 1 << 10, 1 << 12]
    file.write_text(json.dumps(metadata))

    with pytest.raises(ImageError, match="chunks have 8589934592 bytes each, more than 4294967296"):
        open_source(path)
