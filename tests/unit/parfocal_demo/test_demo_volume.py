from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from parfocal_demo.volume import SyntheticVolume, VolumeSpec, generate_volume

SPEC = VolumeSpec(shape=(5, 160, 192), seed=4)


@pytest.fixture(scope="module")
def volume() -> SyntheticVolume:
    return generate_volume(SPEC)


def test_the_same_specification_gives_the_same_bytes(volume: SyntheticVolume) -> None:
    again = generate_volume(SPEC)

    np.testing.assert_array_equal(volume.image, again.image)
    np.testing.assert_array_equal(volume.mitochondria, again.mitochondria)
    np.testing.assert_array_equal(volume.lookalikes, again.lookalikes)


def test_another_seed_gives_another_volume(volume: SyntheticVolume) -> None:
    other = generate_volume(VolumeSpec(shape=SPEC.shape, seed=5))

    assert (other.image != volume.image).mean() > 0.9


def test_image_and_truth_have_the_shape_that_was_asked_for(volume: SyntheticVolume) -> None:
    assert volume.image.shape == volume.mitochondria.shape == volume.lookalikes.shape == SPEC.shape
    assert volume.image.dtype == np.uint8
    assert volume.mitochondria.dtype == np.uint16


def test_grey_values_use_the_range_as_a_micrograph_does(volume: SyntheticVolume) -> None:
    low, high = np.percentile(volume.image, [1, 99])

    assert 105 < volume.image.mean() < 165
    assert low < 60
    assert high > 200


def test_mitochondria_are_darker_than_the_rest_and_lookalikes_too(volume: SyntheticVolume) -> None:
    inside = volume.mitochondria > 0
    fooling = volume.lookalikes > 0
    elsewhere = volume.image[~inside & ~fooling].mean()

    assert 0.02 < inside.mean() < 0.2
    assert 0.002 < fooling.mean() < 0.2
    assert volume.image[inside].mean() < elsewhere - 20
    assert volume.image[fooling].mean() < elsewhere - 5


def test_mitochondria_run_through_sections(volume: SyntheticVolume) -> None:
    depths = [
        np.ptp(np.nonzero(volume.mitochondria == number)[0]) + 1
        for number in np.unique(volume.mitochondria)[1:]
    ]

    assert max(depths) >= 4


def test_nothing_is_both_a_mitochondrion_and_a_lookalike_but_for_slivers(
    volume: SyntheticVolume,
) -> None:
    both = (volume.mitochondria > 0) & (volume.lookalikes > 0)

    assert both.sum() < 0.02 * (volume.mitochondria > 0).sum()


def test_noise_is_fine_and_walls_are_thin(volume: SyntheticVolume) -> None:
    section = volume.image[2].astype(float)
    detail = section - ndimage.gaussian_filter(section, 3)

    assert 12 < detail.std() < 45


def test_a_volume_without_sections_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        VolumeSpec(shape=(0, 10, 10))


def test_one_thin_section_can_be_generated() -> None:
    volume = generate_volume(VolumeSpec(shape=(1, 96, 96), seed=1))

    assert volume.image.shape == (1, 96, 96)
