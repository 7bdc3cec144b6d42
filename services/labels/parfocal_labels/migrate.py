"""Bring the database of this service to the present schema."""

from __future__ import annotations

from pathlib import Path

from parfocal_runtime import database

VERSION_TABLE = "labels_migrations"


async def migrate(target: database.Database) -> None:
    """Apply the steps that `target` lacks, all or none, one process at a time."""
    folder = Path(__file__).parent / "migrations"
    await database.migrate(target, folder, version_table=VERSION_TABLE)
