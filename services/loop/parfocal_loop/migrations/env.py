"""Alembic's entry: applies steps on the connection that the caller has a transaction on."""

from __future__ import annotations

from alembic import context

from parfocal_loop.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    version_table=VERSION_TABLE,
)
context.run_migrations()
