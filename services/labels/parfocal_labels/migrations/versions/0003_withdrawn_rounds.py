"""Rounds that were withdrawn: their queries are never asked again, whatever they lose later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "withdrawn_rounds",
        sa.Column("project_id", _KEY, nullable=False, autoincrement=False),
        sa.Column("round", sa.String(63), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "round", name="pk_withdrawn_rounds"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_withdrawn_rounds_project_id"
        ),
    )
    # A round that people are still asked of was gone on with after it was withdrawn.
    op.execute(
        "INSERT INTO withdrawn_rounds (project_id, round)"
        " SELECT project_id, round FROM standings GROUP BY project_id, round"
        " HAVING SUM(CASE WHEN state = 'withdrawn' THEN 1 ELSE 0 END) > 0"
        " AND SUM(CASE WHEN state IN ('decided', 'withdrawn') THEN 0 ELSE 1 END) = 0"
    )
