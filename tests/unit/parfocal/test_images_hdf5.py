from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from parfocal import ImageError, open_source

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


def write(file: Path, **data: np.ndarray) -> Path:
    with h5py.File(file, "w") as stream:
        for key, values in data.items():
            stream[key.replace("__", "/")] = values
    return file


def test_main_is_read_when_no_key_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", aaa=VOLUME + 1, main=VOLUME)

    with open_source(file) as source:
        assert source.key == "main"
        np.testing.assert_array_equal(source.read(slice(1, 3), slice(2, 4)), VOLUME[1:3, 2:4])


def test_without_main_the_first_key_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", zzz=VOLUME, group__inner=VOLUME + 1)

    with open_source(file) as source:
        assert source.key == "group/inner"


def test_a_named_key_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", main=VOLUME, group__inner=VOLUME + 1)

    with open_source(file, key="/group/inner") as source:
        np.testing.assert_array_equal(source.read(slice(None)), VOLUME + 1)


def test_a_missing_key_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", main=VOLUME, raw=VOLUME)

    with pytest.raises(ImageError, match=r"data set 'vol0', found main, raw"):
        open_source(file, key="vol0")


def test_a_file_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected a data set, found none"):
        open_source(write(tmp_path / "a.h5"))


def test_a_flat_picture_gets_one_section(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.h5", main=VOLUME[0])) as source:
        assert source.shape == (1, 5, 6)
        np.testing.assert_array_equal(source.read(slice(None), slice(1, 3)), VOLUME[:1, 1:3])


def test_of_several_channels_the_named_one_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", main=np.stack([VOLUME, VOLUME + 1]))

    with pytest.raises(ImageError, match="2 channels"):
        open_source(file)
    with open_source(file, channel=1) as source:
        np.testing.assert_array_equal(source.read(slice(None)), VOLUME + 1)


def test_five_axes_are_refused_with_their_shape(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"got shape \(1, 1, 4, 5, 6\)"):
        open_source(write(tmp_path / "a.h5", main=VOLUME[None, None]))


def test_records_are_refused(tmp_path: Path) -> None:
    records = np.zeros((2, 3, 4), dtype=[("a", "u1"), ("b", "f4")])

    with pytest.raises(ImageError, match="boolean, integer or real"):
        open_source(write(tmp_path / "a.h5", main=records))


def test_a_truncated_hdf5_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", main=np.zeros((8, 64, 64), np.uint8))
    file.write_bytes(file.read_bytes()[:4000])

    with pytest.raises(ImageError, match=r"a\.h5: expected a whole HDF5 file"):
        open_source(file)
