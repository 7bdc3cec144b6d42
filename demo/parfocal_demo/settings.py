"""What a campaign is asked to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from parfocal import ConflictError

VoxelSize = tuple[float, float, float]

WORKED_ON_PIXELS = 768
"""Images with longer sides are worked on at a coarser resolution level."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Parameters of a campaign; equal parameters and versions give an equal campaign."""

    images: Path | None = None
    """Image to import; None generates a volume."""
    truth: Path | None = None
    """Its ground truth: nonzero, or instance numbers."""
    voxel_size_nm: VoxelSize | None = None
    """Physical size of a voxel of the finest level, zyx, where the file does not say."""
    level: int | None = None
    """Resolution level to work on; None takes the finest with sides of at most 768 pixels."""
    split: tuple[float, float] = (0.6, 0.7)
    """Columns below the first share train, those from the second on score."""
    rounds: int = 2
    """Rounds of each arm."""
    budget: int = 40
    """Answers per round and arm; also what the comparison of propagation may buy."""
    random_share: float = 0.2
    """Share of each two-stream queue that is drawn at random."""
    seed: int = 0
    """Seed of everything."""
    propagation_seeds: int = 5
    """Seeds of the comparison of propagation."""
    crops: int = 4
    """Fully labelled crops that the base model starts from."""
    crop_shape: tuple[int, int, int] = (4, 128, 128)
    """Sections, rows and columns of a crop."""
    threshold: float = 0.5
    """Probability above which a pixel belongs to a proposal."""
    augmentation: int = 1
    """Views of each window that a probability is the mean of: 1, 4, 8 or 16."""
    minimum_pixels: int = 60
    """Proposals below this area are dropped."""
    base_iterations: int = 1200
    """Optimisation steps of the base model."""
    fine_tune_iterations: int = 300
    """Optimisation steps of each fine-tuning."""
    encoder_iterations: int = 300
    """Optimisation steps of each encoder."""
    error_rate: float = 0.0
    """Share of answers that the oracle gets wrong, drawn by candidate."""

    def __post_init__(self) -> None:
        low, high = self.split
        _require(0 < low <= high < 1, "split", "two shares of the width, 0 < first <= second < 1")
        _require(self.rounds >= 1, "rounds", "at least 1")
        _require(self.budget >= 1, "budget", "at least 1")
        _require(0 <= self.random_share <= 1, "random_share", "0 to 1")
        _require(0 <= self.error_rate <= 1, "error_rate", "0 to 1")
        _require((self.images is None) == (self.truth is None), "truth", "images need a truth")

    def as_text(self) -> dict[str, str]:
        """Return every parameter as text, by name."""
        return {one.name: _text(getattr(self, one.name)) for one in fields(self)}


@dataclass(frozen=True)
class Folder:
    """Where a campaign keeps everything.

    Attributes:
        path: The folder.
    """

    path: Path
    record: str = field(default="campaign.json", repr=False)

    @property
    def data(self) -> Path:
        """Data folder of the embedded services."""
        return self.path / "data"

    def claim(self, settings: Settings) -> bool:
        """Take the folder for a campaign, or go on with the same one.

        Returns:
            Whether there was one to go on with.

        Raises:
            ConflictError: If the folder holds another one.
        """
        file = self.path / self.record
        wanted = json.dumps(asdict(settings), indent=2, default=str, sort_keys=True)
        if not file.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted, encoding="utf-8")
            return False
        found = json.loads(file.read_text(encoding="utf-8"))
        differing = [key for key, value in json.loads(wanted).items() if found.get(key) != value]
        if differing:
            raise ConflictError(
                f"{self.path} holds a campaign with other parameters ({', '.join(differing)}); "
                "name another folder by --out, or remove this one"
            )
        return True


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name}: {rule}")


def _text(value: object) -> str:
    if value is None:
        return "not given"
    if isinstance(value, tuple):
        return " x ".join(f"{part:g}" for part in value)
    return str(value)
