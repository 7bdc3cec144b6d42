from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from parfocal_bench.proposals import Proposals, _specs
from parfocal_bench.verification_report import PACK, main, settings
from parfocal_demo.crops import CropBox
from parfocal_demo.volume import VolumeSpec, generate_volume
from parfocal_runtime.store import open_store

# Three models are trained, each in a process of its own.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    volume = generate_volume(VolumeSpec(shape=(4, 384, 640), seed=1))
    for name, sections in (("raw", volume.image), ("mitochondria", volume.mitochondria)):
        folder = tmp_path / "packs" / PACK / "stack1" / name
        folder.mkdir(parents=True)
        for number, section in enumerate(sections):
            tifffile.imwrite(folder / f"{number}.tif", section, photometric="minisblack")
    return tmp_path / "packs"


def count_inside(proposals: Proposals, boxes: list[CropBox]) -> int:
    centres = np.stack([proposals.table[axis] for axis in ("cz", "cy", "cx")], axis=1)
    inside = [np.all((centres >= box.start) & (centres < box.stop), axis=1) for box in boxes]
    return int(np.any(inside, axis=0).sum())


def test_columns_are_kept_but_for_the_crops_where_that_is_asked_for(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rois"
    words = ["--bases", "0", "--seeds", "2", "--iterations", "40", "5", "--keep-columns"]
    monkeypatch.setattr(sys, "argv", ["-", "--data-packs", str(packs), "--out", str(out), *words])

    main()

    kept = out / "base-0-columns"
    proposals = Proposals.load(kept / "proposals.npz")
    asked = settings(packs / PACK, seed=0, sections=1, iterations=(40, 5))
    specs = _specs(asked, open_store((kept / "data/store").as_uri()))
    assert count_inside(proposals, specs.columns) > 0
    assert count_inside(proposals, list(specs.crops)) == 0
    assert (out / "tables.md").read_text().startswith("| base model |")
