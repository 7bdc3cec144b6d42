"""Labelled pictures of the data packs, with the border between training and test as it came."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Pictures:
    """One side of the border.

    Attributes:
        images: (N, H, W) or (N, H, W, 3) uint8.
        labels: (N,) int64, 0 to C-1; for two classes 1 is the foreground.
        groups: (N,) names of what pictures are taken of, such as patients; empty without.
    """

    images: Images
    labels: Labels
    groups: NDArray[np.str_]


@dataclass(frozen=True)
class Pack:
    """A data set: candidates to label, and pictures of other groups to test on."""

    train: Pictures
    test: Pictures
    classes: int


class LeakingPack(ValueError):
    """A data set whose border between training and test divides a group."""


def open_pack(packs: Path, name: str) -> Pack:
    """Read a data set by its name.

    Raises:
        LeakingPack: If a group is on both sides of the border.
        ValueError: If there is none of that name.
    """
    pack = _READERS[_known(name)](packs / FOLDERS[name])
    shared = np.intersect1d(pack.train.groups, pack.test.groups)
    if len(shared):
        raise LeakingPack(f"{name}: {', '.join(shared[:5])} are in training and in test")
    return pack


def digest(packs: Path, name: str) -> str:
    """Return the content hash of a data set."""
    hashed = hashlib.sha256()
    for part in ("train.npz", "test.npz"):
        path = packs / FOLDERS[_known(name)] / part
        state = path.stat()
        hashed.update(_file_digest(path, state.st_mtime_ns, state.st_size))
    return hashed.hexdigest()


@lru_cache(maxsize=8)
def _file_digest(path: Path, _modified: int, _size: int) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _known(name: str) -> str:
    if name not in FOLDERS:
        raise ValueError(f"no data set {name!r}; there are {', '.join(sorted(FOLDERS))}")
    return name


def _malaria(folder: Path) -> Pack:
    """Single red cells of 48 x 48 pixels; border by patient."""
    return Pack(_cells(folder / "train.npz"), _cells(folder / "test.npz"), classes=2)


def _cells(path: Path) -> Pictures:
    with np.load(path) as arrays:
        images, patients = arrays["images"][:, 1:-1, 1:-1], arrays["patient"]
        return Pictures(np.ascontiguousarray(images), arrays["labels"].astype(np.int64), patients)


def _cifar10(folder: Path) -> Pack:
    """Natural pictures of ten classes, 32 x 32 in colour; the official border."""
    return Pack(_things(folder / "train.npz"), _things(folder / "test.npz"), classes=10)


def _things(path: Path) -> Pictures:
    with np.load(path) as arrays:
        labels = arrays["labels"].astype(np.int64)
        return Pictures(arrays["images"], labels, np.empty(0, np.str_))


FOLDERS: Mapping[str, str] = {
    "malaria": "D_malaria_cells",
    "cifar10": "E_cifar10_lossless_6k",
}
"""Folder of each data set among the packs."""

_READERS: Mapping[str, Callable[[Path], Pack]] = {"malaria": _malaria, "cifar10": _cifar10}
