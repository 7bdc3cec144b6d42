"""How much of a proof is run: a little with every change, all of it by `make proofs`."""

from __future__ import annotations

import os

import pytest

ALL = os.environ.get("PARFOCAL_PROOFS") == "all"

long_running = pytest.mark.timeout(3600 if ALL else 300)


def amount(a_little: int, *, all: int) -> int:
    """How often to do something."""
    return all if ALL else a_little
