from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parfocal import ImageError, open_source


def write_stack(folder: Path, sections: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, section in sections.items():
        Image.fromarray(section).save(folder / name)
    return folder


def test_sections_come_in_natural_order(tmp_path: Path) -> None:
    names = ["z10.png", "z9.png", "z1.png", "z2.png"]
    folder = write_stack(
        tmp_path / "raw", {name: np.full((3, 4), int(name[1:-4]), np.uint8) for name in names}
    )

    with open_source(folder) as source:
        assert source.shape == (4, 3, 4)
        assert source.read(slice(None))[:, 0, 0].tolist() == [1, 2, 9, 10]


def test_part_of_the_sections_and_rows_can_be_read(tmp_path: Path) -> None:
    volume = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    folder = write_stack(tmp_path, {f"{z}.png": section for z, section in enumerate(volume)})

    with open_source(folder) as source:
        part = source.read(slice(1, 3), slice(2, 5))

    np.testing.assert_array_equal(part, volume[1:3, 2:5])


def test_one_picture_is_an_image_of_one_section(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "a.png")

    with open_source(tmp_path / "a.png") as source:
        assert source.shape == (1, 3, 4)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    section = np.array([[0, 300], [65535, 7]], np.uint16)
    folder = write_stack(tmp_path, {"0.png": section})

    with open_source(folder) as source:
        assert source.dtype == np.uint16
        np.testing.assert_array_equal(source.read(slice(None))[0], section)


def test_colour_becomes_grey_by_luminance(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    folder = write_stack(tmp_path, {"0.png": colours})

    with open_source(folder) as source:
        assert source.read(slice(None)).tolist() == [[[76, 150, 29, 9]]]


def test_a_named_channel_of_a_colour_picture_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_stack(tmp_path, {"0.png": np.array([[[1, 2, 3]]], np.uint8)})

    with open_source(folder, channel=2) as source:
        assert source.read(slice(None)).tolist() == [[[3]]]


def test_colour_labels_are_24_bit_numbers(tmp_path: Path) -> None:
    folder = write_stack(tmp_path, {"0.png": np.array([[[1, 2, 3]]], np.uint8)})

    with open_source(folder, labels=True) as source:
        assert source.dtype == np.uint32
        assert source.read(slice(None)).tolist() == [[[65536 + 2 * 256 + 3]]]


def test_a_palette_means_its_numbers_in_labels_and_its_colours_in_images(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    picture.putpalette([10, 10, 10, 200, 200, 200])
    picture.putdata([0, 1])
    picture.save(tmp_path / "0.png")

    with open_source(tmp_path) as image, open_source(tmp_path, labels=True) as labels:
        assert image.read(slice(None)).tolist() == [[[10, 200]]]
        assert labels.read(slice(None)).tolist() == [[[0, 1]]]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nothing: there is no such file") as caught:
        open_source(tmp_path / "nothing")

    assert caught.value.reason == "ERROR_REASON_ARTIFACT_NOT_FOUND"


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")

    with pytest.raises(ImageError, match="one TIFF or PNG file per section, found none"):
        open_source(tmp_path)


def test_sections_of_two_sizes_are_both_named(tmp_path: Path) -> None:
    folder = write_stack(
        tmp_path, {"0.png": np.zeros((3, 4), np.uint8), "1.png": np.zeros((3, 5), np.uint8)}
    )

    with pytest.raises(ImageError, match=r"1\.png.*0\.png is 3 x 4.*this one 3 x 5") as caught:
        open_source(folder)

    assert caught.value.metadata["expected"] == "(3, 4)"


def test_sections_of_two_types_are_refused(tmp_path: Path) -> None:
    folder = write_stack(
        tmp_path, {"0.png": np.zeros((3, 4), np.uint8), "1.png": np.zeros((3, 4), np.uint16)}
    )

    with pytest.raises(ImageError, match="one type"):
        open_source(folder)


def test_png_and_tiff_sections_are_not_mixed(tmp_path: Path) -> None:
    write_stack(tmp_path, {"0.png": np.zeros((3, 4), np.uint8)})
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "1.tif")

    with pytest.raises(ImageError, match="either TIFF or PNG"):
        open_source(tmp_path)


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "0.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:-2000])

    with open_source(tmp_path) as source, pytest.raises(ImageError, match=r"0\.png.*whole"):
        source.read(slice(None))


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"nothing of the kind")

    with pytest.raises(ImageError, match=r"0\.png"):
        open_source(tmp_path)


def test_an_unknown_kind_of_file_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "image.doc").write_bytes(b"")

    with pytest.raises(ImageError, match="TIFF, PNG, JPEG, BMP or HDF5"):
        open_source(tmp_path / "image.doc")
