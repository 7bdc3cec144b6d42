from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def write_cells(path: Path, patients: list[str], seed: int, count: int) -> None:
    """Write grey cells of 50 x 50 pixels; those of class 1 have a dark dot somewhere."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.uint8)
    images = rng.integers(150, 200, (count, 50, 50), dtype=np.uint8)
    for row in np.flatnonzero(labels):
        y, x = rng.integers(10, 34, 2)
        images[row, y : y + 6, x : x + 6] = 20
    np.savez(path, images=images, labels=labels, patient=np.resize(patients, count))


def write_things(path: Path, seed: int, count: int) -> None:
    """Write pictures of 32 x 32 in colour, of ten classes that differ in shade."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    shades = 20 * labels[:, None, None, None] + rng.integers(0, 60, (count, 32, 32, 3))
    np.savez(path, images=shades.astype(np.uint8), labels=labels)


@pytest.fixture(scope="session")
def small_packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small packs of the two data sets."""
    packs = tmp_path_factory.mktemp("packs")
    malaria, cifar10 = packs / "D_malaria_cells", packs / "E_cifar10_lossless_6k"
    malaria.mkdir()
    cifar10.mkdir()
    write_cells(malaria / "train.npz", ["C1", "C2", "C3"], seed=1, count=160)
    write_cells(malaria / "test.npz", ["C4", "C5"], seed=2, count=60)
    write_things(cifar10 / "train.npz", seed=3, count=160)
    write_things(cifar10 / "test.npz", seed=4, count=60)
    return packs
