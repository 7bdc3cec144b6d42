"""First schema: projects, queries, leases, label events, submissions, snapshots."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IS_OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    _create_projects()
    _create_queries()
    _create_leases()
    _create_label_events()
    _create_submissions()
    _create_snapshots()


def _project_id(table: str, *, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "project_id",
        _KEY,
        sa.ForeignKey("projects.id", name=f"fk_{table}_project_id"),
        primary_key=primary_key,
        autoincrement=False,
        nullable=False,
    )


def _query_id(table: str, *, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "query_id",
        _KEY,
        sa.ForeignKey("queries.id", name=f"fk_{table}_query_id"),
        primary_key=primary_key,
        autoincrement=False,
        nullable=False,
    )


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("task_kind", sa.String(16), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("votes_needed", sa.SmallInteger(), nullable=False),
        sa.Column("consensus_rule", sa.String(16), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )


def _create_queries() -> None:
    op.create_table(
        "queries",
        sa.Column("id", _KEY, nullable=False),
        _project_id("queries"),
        sa.Column("round", sa.String(63), nullable=False),
        sa.Column("candidate_set", sa.String(63), nullable=False),
        sa.Column("candidate", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text()),
        sa.Column("model_version", sa.BigInteger()),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("box", sa.JSON()),
        sa.Column("patches", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("votes", sa.SmallInteger(), nullable=False),
        sa.Column("leases", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_queries"),
        sa.UniqueConstraint(
            "project_id",
            "round",
            "candidate_set",
            "candidate",
            name="uq_queries_project_id_round_candidate_set_candidate",
        ),
    )
    op.create_index("ix_queries_list", "queries", ["project_id", "round", "rank", "id"])
    order: list[Any] = [sa.text("priority DESC"), "rank", "id"]
    _create_open_index("ix_queries_open", ["project_id", *order])
    _create_open_index("ix_queries_open_round", ["project_id", "round", *order])


def _create_open_index(name: str, columns: list[Any]) -> None:
    op.create_index(name, "queries", columns, postgresql_where=_IS_OPEN, sqlite_where=_IS_OPEN)


def _create_leases() -> None:
    op.create_table(
        "leases",
        _query_id("leases", primary_key=True),
        sa.Column("annotator", sa.Text(), primary_key=True),
        _project_id("leases"),
        sa.Column("expire_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", "annotator", name="pk_leases"),
    )
    op.create_index("ix_leases_expiry", "leases", ["project_id", "expire_time"])


def _create_label_events() -> None:
    op.create_table(
        "label_events",
        _project_id("label_events", primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("retracts", sa.BigInteger()),
        _query_id("label_events"),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("class_name", sa.Text()),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "sequence", name="pk_label_events"),
        sa.UniqueConstraint("project_id", "retracts", name="uq_label_events_project_id_retracts"),
    )
    op.create_index("ix_label_events_votes", "label_events", ["query_id", "annotator"])


def _create_submissions() -> None:
    op.create_table(
        "submissions",
        _project_id("submissions", primary_key=True),
        sa.Column("caller", sa.Text(), primary_key=True),
        sa.Column("request_id", sa.String(128), primary_key=True),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "caller", "request_id", name="pk_submissions"),
    )


def _create_snapshots() -> None:
    op.create_table(
        "snapshots",
        _project_id("snapshots", primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "sha256", name="pk_snapshots"),
    )
