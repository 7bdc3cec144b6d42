"""Quality: gold, repeats, skills, skips, tie rules, tags; standings apart from queries."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IS_OPEN = sa.text("state = 'open'")
_IS_GOLD = sa.text("state = 'gold'")


def upgrade() -> None:
    _drop_foreign_keys()
    _add_columns()
    _create_skips()
    _create_annotators()
    _part_standings()
    op.create_index(
        "ix_label_events_annotator", "label_events", ["project_id", "annotator", "sequence"]
    )


def _drop_foreign_keys() -> None:
    keys = {
        "leases": ("query_id", "project_id"),
        "label_events": ("query_id", "project_id"),
        "submissions": ("project_id",),
    }
    for table, columns in keys.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_constraint(f"fk_{table}_{column}", type_="foreignkey")
            if table == "label_events":
                batch.drop_constraint("uq_label_events_project_id_retracts", type_="unique")
    _create_partial_index(
        "ix_label_events_retracts",
        ["project_id", "retracts"],
        table="label_events",
        where=sa.text("retracts IS NOT NULL"),
        unique=True,
    )


def _add_columns() -> None:
    added: dict[str, list[sa.Column[Any]]] = {
        "projects": [
            sa.Column("votes_to_agree", sa.SmallInteger(), nullable=False, server_default="0"),
            sa.Column("tie_rule", sa.String(16), nullable=False, server_default="unsure"),
            sa.Column("gold_share", sa.Double(), nullable=False, server_default="0"),
            sa.Column("repeat_share", sa.Double(), nullable=False, server_default="0"),
            sa.Column("blind", sa.Boolean(), nullable=False, server_default=sa.false()),
        ],
        "queries": [
            sa.Column("skill", sa.String(63), nullable=False, server_default=""),
            sa.Column("gold_verdict", sa.String(16)),
            sa.Column("gold_class_name", sa.Text()),
        ],
        "leases": [_purpose()],
        "label_events": [_purpose(), sa.Column("tags", sa.JSON())],
    }
    for table, columns in added.items():
        for column in columns:
            op.add_column(table, column)


def _purpose() -> sa.Column[str]:
    return sa.Column("purpose", sa.String(16), nullable=False, server_default="vote")


def _create_skips() -> None:
    op.create_table(
        "skips",
        sa.Column("query_id", _KEY, nullable=False, autoincrement=False),
        sa.Column("annotator", sa.Text(), nullable=False),
        sa.Column("project_id", _KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", "annotator", name="pk_skips"),
        sa.ForeignKeyConstraint(["query_id"], ["queries.id"], name="fk_skips_query_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_skips_project_id"),
    )
    op.create_index("ix_skips_annotator", "skips", ["project_id", "annotator"])


def _create_annotators() -> None:
    op.create_table(
        "annotators",
        sa.Column("project_id", _KEY, nullable=False, autoincrement=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("skills", sa.JSON(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("handed_out", sa.BigInteger(), nullable=False),
        sa.Column("gold_out", sa.BigInteger(), nullable=False),
        sa.Column("repeats_out", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_annotators"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_annotators_project_id"),
    )


def _part_standings() -> None:
    """Move what changes about a query to a table of its own."""
    op.create_table(
        "standings",
        sa.Column("query_id", _KEY, nullable=False, autoincrement=False),
        sa.Column("project_id", _KEY, nullable=False),
        sa.Column("round", sa.String(63), nullable=False),
        sa.Column("skill", sa.String(63), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("votes", sa.SmallInteger(), nullable=False),
        sa.Column("leases", sa.SmallInteger(), nullable=False),
        sa.Column("skips", sa.SmallInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", name="pk_standings"),
    )
    op.execute(
        "INSERT INTO standings SELECT id, project_id, round, '', priority, rank, state, votes,"
        " leases, 0, create_time FROM queries"
    )
    for name in ("ix_queries_open", "ix_queries_open_round"):
        op.drop_index(name, table_name="queries")
    for name in ("state", "votes", "leases"):
        op.drop_column("queries", name)
    order: list[Any] = ["skill", sa.text("priority DESC"), "rank", "query_id"]
    _create_partial_index("ix_standings_open", ["project_id", *order], where=_IS_OPEN)
    _create_partial_index(
        "ix_standings_open_round", ["project_id", "round", *order], where=_IS_OPEN
    )
    _create_partial_index("ix_standings_gold", ["project_id", "query_id"], where=_IS_GOLD)


def _create_partial_index(
    name: str,
    columns: list[Any],
    *,
    where: sa.TextClause,
    table: str = "standings",
    unique: bool = False,
) -> None:
    op.create_index(name, table, columns, unique=unique, postgresql_where=where, sqlite_where=where)
