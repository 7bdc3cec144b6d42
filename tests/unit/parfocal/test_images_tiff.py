from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from parfocal import ImageError, open_source

VOLUME = np.arange(5 * 64 * 48, dtype=np.uint16).reshape(5, 64, 48)


def read_all(path: Path, **options: Any) -> np.ndarray:
    with open_source(path, **options) as source:
        block = source.read(slice(None))
        assert block.shape == source.shape
        assert block.dtype == source.dtype
        return block


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (16, 16)},
        {"metadata": {"axes": "ZYX"}, "ome": True},
        {"metadata": {"axes": "ZYX"}, "imagej": True},
        {"metadata": {"axes": "TYX"}, "imagej": True},
    ],
    ids=str,
)
def test_pages_are_sections_however_they_were_written(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, VOLUME, **options)

    np.testing.assert_array_equal(read_all(file), VOLUME)


def test_pages_written_one_at_a_time_are_sections(tmp_path: Path) -> None:
    file = tmp_path / "stack.tif"
    with tifffile.TiffWriter(file) as writer:
        for section in VOLUME:
            writer.write(section, contiguous=False)

    np.testing.assert_array_equal(read_all(file), VOLUME)


def test_lzw_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stack.tif"
    sections = [Image.fromarray(section) for section in VOLUME]
    sections[0].save(file, save_all=True, append_images=sections[1:], compression="tiff_lzw")

    np.testing.assert_array_equal(read_all(file), VOLUME)


def test_a_folder_has_one_section_per_file(tmp_path: Path) -> None:
    for z in (0, 2, 10):
        tifffile.imwrite(tmp_path / f"s{z}.tiff", VOLUME[z % 5] + z)

    block = read_all(tmp_path)

    np.testing.assert_array_equal(block[:, 0, 0], [VOLUME[z % 5, 0, 0] + z for z in (0, 2, 10)])


def test_a_folder_with_a_stack_in_it_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "0.tif", VOLUME)

    with pytest.raises(ImageError, match="one section per file in a folder, got 5"):
        open_source(tmp_path)


def test_sections_of_two_sizes_are_both_named_in_a_tiff_folder(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "0.tif", VOLUME[0])
    tifffile.imwrite(tmp_path / "1.tif", VOLUME[0, :10])

    with pytest.raises(ImageError, match=r"1\.tif.*0\.tif is 64 x 48.*this one 10 x 48"):
        open_source(tmp_path)


def test_of_several_channels_one_must_be_named(tmp_path: Path) -> None:
    file = tmp_path / "stack.tif"
    channels = np.stack([VOLUME, VOLUME + 1], axis=1)
    tifffile.imwrite(file, channels, imagej=True, metadata={"axes": "ZCYX"})

    with pytest.raises(ImageError, match="it has 2 channels; say which"):
        open_source(file)
    with pytest.raises(ImageError, match="no channel 2"):
        open_source(file, channel=2)
    np.testing.assert_array_equal(read_all(file, channel=1), VOLUME + 1)


def test_a_stack_with_one_header_for_all_pages_is_read(tmp_path: Path) -> None:
    # As ImageJ writes stacks above 4 GB.
    file = tmp_path / "stack.tif"
    tifffile.imwrite(
        file, VOLUME, imagej=True, metadata={"axes": "ZYX"}, byteorder=">", contiguous=True
    )
    raw = bytearray(file.read_bytes())
    with tifffile.TiffFile(file) as whole:
        first: Any = whole.pages[0]
        next_page = first.offset + 2 + 12 * len(first.tags)
    raw[next_page : next_page + 4] = bytes(4)
    file.write_bytes(raw)

    np.testing.assert_array_equal(read_all(file), VOLUME)


def test_a_stack_over_time_and_depth_is_refused_with_its_axes(tmp_path: Path) -> None:
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, np.zeros((2, 3, 8, 8), np.uint8), imagej=True, metadata={"axes": "TZYX"})

    with pytest.raises(ImageError, match="axes TZYX of lengths"):
        open_source(file)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_pages_become_grey(tmp_path: Path, planar: str) -> None:
    file = tmp_path / "stack.tif"
    shape = (2, 8, 9, 3) if planar == "contig" else (2, 3, 8, 9)
    tifffile.imwrite(file, np.full(shape, 7, np.uint8), photometric="rgb", planarconfig=planar)

    block = read_all(file)

    assert block.shape == (2, 8, 9)
    assert (block == 7).all()


def test_the_voxel_size_of_ome_is_read_in_nanometres(tmp_path: Path) -> None:
    file = tmp_path / "stack.ome.tif"
    tifffile.imwrite(
        file,
        VOLUME,
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 4.6,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 4.7,
            "PhysicalSizeYUnit": "nm",
            "PhysicalSizeZ": 0.05,
        },
    )

    with open_source(file) as source:
        assert source.voxel_size_nm == pytest.approx((50.0, 4.7, 4.6))


def test_the_voxel_size_of_imagej_is_read_in_nanometres(tmp_path: Path) -> None:
    file = tmp_path / "stack.tif"
    tifffile.imwrite(
        file,
        VOLUME,
        imagej=True,
        resolution=(250, 125),
        metadata={"axes": "ZYX", "spacing": 0.05, "unit": "um"},
    )

    with open_source(file) as source:
        assert source.voxel_size_nm == pytest.approx((50.0, 8.0, 4.0))


def test_a_voxel_size_that_is_not_written_is_not_known(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", VOLUME)

    with open_source(tmp_path / "stack.tif") as source:
        assert source.voxel_size_nm is None


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "options", [{}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"compression": "zlib"}], ids=str
)
def test_a_truncated_file_is_named_and_never_read_as_a_shorter_stack(
    tmp_path: Path, options: dict[str, Any], share: float
) -> None:
    file = tmp_path / "stack.tif"
    tifffile.imwrite(file, VOLUME, **options)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(ImageError, match=r"stack\.tif: expected a whole TIFF"):
        read_all(file)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 8, 8), np.complex64))

    with pytest.raises(ImageError, match="got type complex64") as caught:
        open_source(tmp_path / "stack.tif")

    assert caught.value.reason == "ERROR_REASON_DTYPE_MISMATCH"


def test_a_file_that_is_no_tiff_is_named(tmp_path: Path) -> None:
    (tmp_path / "stack.tif").write_bytes(b"nothing of the kind")

    with pytest.raises(ImageError, match=r"stack\.tif: expected a whole TIFF file"):
        open_source(tmp_path / "stack.tif")
