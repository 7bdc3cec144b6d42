from __future__ import annotations

import re
from pathlib import Path

import pytest

from parfocal.common.v1 import error_reason_pb2

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted(
    path
    for folder in ("services", "client", "demo")
    for path in (ROOT / folder).rglob("*.py")
    if "_pb2" not in path.name
)
GIVEN = re.compile(r'"(ERROR_REASON_[A-Z_]+)"')


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_reason_that_is_given_is_in_the_contract(path: Path) -> None:
    given = set(GIVEN.findall(path.read_text()))

    assert given <= set(error_reason_pb2.ErrorReason.keys())
