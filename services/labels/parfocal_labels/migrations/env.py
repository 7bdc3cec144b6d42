"""Alembic's entry: applies steps on the connection that the caller has a transaction on."""

from __future__ import annotations

from alembic import context

from parfocal_labels.migrate import VERSION_TABLE
from parfocal_labels.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    version_table=VERSION_TABLE,
)
context.run_migrations()
