"""The demonstration: one active-learning campaign on EM images, measured against random."""

from parfocal_demo.running import run

__all__ = ["run"]
