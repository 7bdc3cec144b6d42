from __future__ import annotations

import numpy as np
import pytest

from parfocal import ImageError
from parfocal._images.intensity import measured_intensity
from parfocal._images.source import Array, ImageSource


class InMemory(ImageSource):
    name, kind = "memory", "array"

    def __init__(self, volume: Array) -> None:
        self._volume = volume
        self.shape = volume.shape
        self.dtype = volume.dtype

    def read(self, sections: slice, rows: slice = slice(None)) -> Array:
        return self._volume[sections, rows]


def test_bytes_stay_as_they_are() -> None:
    volume = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)

    np.testing.assert_array_equal(measured_intensity(InMemory(volume))(volume), volume)


def test_booleans_become_0_and_255() -> None:
    volume = np.array([[[False, True]]])

    assert measured_intensity(InMemory(volume))(volume).tolist() == [[[0, 255]]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.float32, np.float64])
def test_a_hot_pixel_does_not_darken_the_image(dtype: type[np.generic]) -> None:
    volume = np.linspace(1000, 3000, 100 * 100).astype(dtype).reshape(1, 100, 100)
    volume[0, 50, 50] = 30000

    mapped = measured_intensity(InMemory(volume))(volume)

    assert mapped.min() == 0
    assert mapped[0, 50, 50] == 255
    assert abs(float(np.median(mapped)) - 127.5) < 2


def test_the_percentiles_are_recorded() -> None:
    volume = np.arange(1001, dtype=np.uint16).reshape(1, 7, 143)

    assert measured_intensity(InMemory(volume)).record() == {
        "source_dtype": "uint16",
        "low": 5.0,
        "high": 995.0,
        "low_percentile": 0.5,
        "high_percentile": 99.5,
    }


def test_values_that_are_no_numbers_do_not_count() -> None:
    volume = np.linspace(0, 1, 1000, dtype=np.float32).reshape(1, 10, 100)
    volume[0, 0, :3] = np.nan, np.inf, -np.inf

    intensity = measured_intensity(InMemory(volume))

    assert 0 < intensity.low < intensity.high < 1
    assert intensity(volume)[0, 0, :3].tolist() == [0, 255, 0]


def test_an_image_without_any_number_is_refused() -> None:
    with pytest.raises(ImageError, match="no voxel is a finite number"):
        measured_intensity(InMemory(np.full((1, 2, 3), np.nan)))


def test_a_constant_image_becomes_black() -> None:
    volume = np.full((1, 2, 3), 7, np.uint16)

    assert not measured_intensity(InMemory(volume))(volume).any()


def test_large_images_are_measured_on_a_part_of_them() -> None:
    read: list[int] = []

    class Tall(InMemory):
        def read(self, sections: slice, rows: slice = slice(None)) -> Array:
            read.append(sections.start)
            return super().read(sections, rows)

    measured_intensity(Tall(np.zeros((1000, 2, 2), np.uint16)))

    assert len(read) == 64
    assert (min(read), max(read)) == (0, 999)
