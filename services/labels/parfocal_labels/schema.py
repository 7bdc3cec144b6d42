"""The tables of the label store.

Labels are facts in `label_events`, which only grows: a submission brings a label, a retraction
is a further fact about it. `standings.votes` and `standings.leases` repeat what the facts and
the leases say, so that the state of a query follows from one row, and the queue is a range of
the index over the open ones.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator

CHANNEL = "parfocal_labels"
"""On which PostgreSQL tells who listens that a project has new events; the payload is its id."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""What times in the tables count from."""

# SQLite numbers rows by itself only where the key is an INTEGER.
_Key = BigInteger().with_variant(Integer, "sqlite")


class Instant(TypeDecorator[datetime]):
    """A point in time, kept as microseconds since 1970 UTC: the same on both engines."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> int | None:
        """Return `value` as microseconds."""
        return None if value is None else (value - EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: object) -> datetime | None:
        """Return microseconds as a time in UTC."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

projects = Table(
    "projects",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("task_kind", String(16), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("votes_needed", SmallInteger, nullable=False),
    Column("consensus_rule", String(16), nullable=False),
    Column("votes_to_agree", SmallInteger, nullable=False, server_default="0"),
    Column("tie_rule", String(16), nullable=False, server_default="unsure"),
    Column("gold_share", Double, nullable=False, server_default="0"),
    Column("repeat_share", Double, nullable=False, server_default="0"),
    Column("blind", Boolean, nullable=False, server_default=false()),
    Column("revision", BigInteger, nullable=False),
    # The counter lies in the project's row, so that whoever takes numbers holds the row until
    # the commit: events become visible in their order and without gaps.
    Column("last_sequence", BigInteger, nullable=False),
    Column("create_time", Instant, nullable=False),
    Column("update_time", Instant, nullable=False),
)

queries = Table(
    "queries",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("project_id", _Key, ForeignKey("projects.id"), nullable=False),
    Column("round", String(63), nullable=False),
    Column("candidate_set", String(63), nullable=False),
    Column("candidate", BigInteger, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("strategy", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("model_name", Text),
    Column("model_version", BigInteger),
    Column("image", Text, nullable=False),
    Column("box", JSON(none_as_null=True)),
    Column("patches", Text, nullable=False),
    Column("create_time", Instant, nullable=False),
    Column("skill", String(63), nullable=False, server_default=""),
    Column("gold_verdict", String(16)),
    Column("gold_class_name", Text),
    UniqueConstraint("project_id", "round", "candidate_set", "candidate"),
    Index("ix_queries_list", "project_id", "round", "rank", "id"),
)

# What changes about a query, and what its place in the queue depends on. It is apart from the
# query because both engines write a row anew, and PostgreSQL its entry in every index of the
# table, whenever a part of it changes: twice for every label.
standings = Table(
    "standings",
    metadata,
    Column("query_id", _Key, primary_key=True, autoincrement=False),
    Column("project_id", _Key, nullable=False),
    Column("round", String(63), nullable=False),
    Column("skill", String(63), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("votes", SmallInteger, nullable=False),
    Column("leases", SmallInteger, nullable=False),
    Column("skips", SmallInteger, nullable=False),
    Column("create_time", Instant, nullable=False),
)

STANDING = (standings.c.state, standings.c.votes, standings.c.leases, standings.c.skips)
"""The columns that say what becomes of a query."""

WITH_STANDING = queries.join(standings, standings.c.query_id == queries.c.id)
"""Queries and what becomes of them."""

# The condition is written out, not bound: a planner uses a partial index only when it can see
# at planning time that the query implies it.
IS_OPEN = text("state = 'open'")
IS_GOLD = text("state = 'gold'")
IS_RETRACTION = text("retracts IS NOT NULL")

Index(
    "ix_standings_open",
    standings.c.project_id,
    standings.c.skill,
    standings.c.priority.desc(),
    standings.c.rank,
    standings.c.query_id,
    postgresql_where=IS_OPEN,
    sqlite_where=IS_OPEN,
)
Index(
    "ix_standings_open_round",
    standings.c.project_id,
    standings.c.round,
    standings.c.skill,
    standings.c.priority.desc(),
    standings.c.rank,
    standings.c.query_id,
    postgresql_where=IS_OPEN,
    sqlite_where=IS_OPEN,
)
Index(
    "ix_standings_gold",
    standings.c.project_id,
    standings.c.query_id,
    postgresql_where=IS_GOLD,
    sqlite_where=IS_GOLD,
)

# Of each query that lies in one of these, or is added to one later, nobody is asked any more.
withdrawn_rounds = Table(
    "withdrawn_rounds",
    metadata,
    Column("project_id", _Key, ForeignKey("projects.id"), primary_key=True, autoincrement=False),
    Column("round", String(63), primary_key=True),
)

# Leases, events and submissions name projects and queries without a foreign key. They are
# written only while a lock on the row they name is held, such rows are never deleted, and the
# check of every key would cost as much as writing the row.
leases = Table(
    "leases",
    metadata,
    Column("query_id", _Key, primary_key=True, autoincrement=False),
    Column("annotator", Text, primary_key=True),
    Column("project_id", _Key, nullable=False),
    Column("expire_time", Instant, nullable=False),
    # What the answer will count for; only votes take up one of a query's places.
    Column("purpose", String(16), nullable=False, server_default="vote"),
    Index("ix_leases_expiry", "project_id", "expire_time"),
)

skips = Table(
    "skips",
    metadata,
    Column("query_id", _Key, ForeignKey("queries.id"), primary_key=True, autoincrement=False),
    Column("annotator", Text, primary_key=True),
    Column("project_id", _Key, ForeignKey("projects.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("create_time", Instant, nullable=False),
    Index("ix_skips_annotator", "project_id", "annotator"),
)

annotators = Table(
    "annotators",
    metadata,
    Column("project_id", _Key, ForeignKey("projects.id"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("skills", JSON, nullable=False),
    Column("suspended", Boolean, nullable=False),
    # What they were handed so far, by which the shares of gold and repeats are kept; what was
    # missed of these and is not made up for counts as handed out.
    Column("handed_out", BigInteger, nullable=False),
    Column("gold_out", BigInteger, nullable=False),
    Column("repeats_out", BigInteger, nullable=False),
    Column("create_time", Instant, nullable=False),
)

label_events = Table(
    "label_events",
    metadata,
    Column("project_id", _Key, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    # The label that is taken back, by a retraction or, where there is an answer, by a revision.
    Column("retracts", BigInteger),
    Column("query_id", _Key, nullable=False),
    Column("annotator", Text, nullable=False),
    Column("verdict", String(16)),
    Column("class_name", Text),
    Column("seconds", Double, nullable=False),
    Column("client", Text, nullable=False),
    Column("create_time", Instant, nullable=False),
    Column("purpose", String(16), nullable=False, server_default="vote"),
    Column("tags", JSON(none_as_null=True)),
    Index(
        "ix_label_events_retracts",
        "project_id",
        "retracts",
        unique=True,
        postgresql_where=IS_RETRACTION,
        sqlite_where=IS_RETRACTION,
    ),
    Index("ix_label_events_votes", "query_id", "annotator"),
    Index("ix_label_events_annotator", "project_id", "annotator", "sequence"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("project_id", _Key, primary_key=True, autoincrement=False),
    Column("caller", Text, primary_key=True),
    Column("request_id", String(128), primary_key=True),
    Column("content_sha256", String(64), nullable=False),
    Column("outcome", JSON, nullable=False),
    Column("create_time", Instant, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("project_id", _Key, ForeignKey("projects.id"), primary_key=True, autoincrement=False),
    Column("sha256", String(64), primary_key=True),
    Column("path", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("create_time", Instant, nullable=False),
)
