"""A seeded generator of EM-like volumes with ground truth of their mitochondria."""

from parfocal_demo.volume.generate import SyntheticVolume, generate_volume
from parfocal_demo.volume.spec import VolumeSpec

__all__ = ["SyntheticVolume", "VolumeSpec", "generate_volume"]
