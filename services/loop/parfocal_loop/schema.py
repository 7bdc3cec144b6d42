"""The one table: what is wanted, what exists, and who is at it."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

VERSION_TABLE = "loop_migrations"
METADATA = MetaData()

WORK = Table(
    "work",
    METADATA,
    Column("project", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True, comment="round or job"),
    Column("id", String(63), primary_key=True),
    Column("spec", LargeBinary, nullable=False, comment="what is wanted, a serialized message"),
    Column("status", LargeBinary, nullable=False, comment="what exists, a serialized message"),
    Column("finished", Boolean, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("revision", Integer, nullable=False, comment="rises with every change"),
    Column("owner", String(64), nullable=False, comment="the controller that is at it, or empty"),
    Column("claimed_until", Float, nullable=False, comment="seconds since 1970"),
    Column("create_time", Float, nullable=False, comment="seconds since 1970"),
    Column("update_time", Float, nullable=False, comment="seconds since 1970"),
)

Index("work_to_do", WORK.c.finished, WORK.c.claimed_until)
Index("work_newest", WORK.c.project, WORK.c.kind, WORK.c.create_time)
