"""The components that the other tests stand on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

QUESTION = "select current_database(), count(*) from pg_tables where schemaname = 'public'"


@pytest.mark.postgres
def test_every_test_gets_a_database_of_its_own(postgres_database: str, postgres_dsn: str) -> None:
    answer = subprocess.run(
        ["psql", "-At", postgres_database, "-c", QUESTION],
        check=True,
        capture_output=True,
        text=True,
    )

    assert answer.stdout.strip() == f"{postgres_database.rpartition('/')[2]}|0"
    assert postgres_database != postgres_dsn


@pytest.mark.packs
def test_the_data_packs_have_checksums(data_packs: Path) -> None:
    assert list(data_packs.glob("*/SHA256SUMS"))
