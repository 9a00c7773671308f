"""Count the completed seats of courses, keep the violations that overrides set aside, and find courses with waiters.

Revision: 20261126_1930, after 20261126_1625.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "20261126_1930"
down_revision: str | None = "20261126_1625"
branch_labels: str | None = None
depends_on: str | None = None

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
UNCOUNTED = "(state IN ('COMPLETED', 'VOIDED') AND counted IS NULL) OR (state = 'VOIDED' AND counted)"
INDEXES = {
    "ix_courses_has_waiters": ("courses", "has_waiters"),
    "ix_enrollments_uncounted": ("enrollments", UNCOUNTED),
}


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    condition = "IF NOT EXISTS" if on_postgresql else ""
    op.execute(
        f"ALTER TABLE courses ADD COLUMN {condition} completed_count BIGINT DEFAULT 0 NOT NULL"
        " CONSTRAINT ck_courses_completed_count CHECK (completed_count >= 0)"
    )
    for table, column in _new_columns():
        op.add_column(table, column, if_not_exists=on_postgresql or None)
    with op.get_context().autocommit_block() if on_postgresql else nullcontext():
        for name in INDEXES:
            _create_index(name, concurrently=on_postgresql)


def _new_columns() -> list[tuple[str, sa.Column[Any]]]:
    # Servers of the previous version insert rows without these columns, so the defaults stay.
    return [
        ("courses", sa.Column("has_waiters", sa.Boolean(), nullable=False, server_default=sa.false())),
        ("enrollments", sa.Column("bypassed_violations", DOCUMENT, nullable=False, server_default="[]")),
        ("enrollments", sa.Column("counted", sa.Boolean(), nullable=True)),
    ]


def _create_index(name: str, *, concurrently: bool) -> None:
    table, condition = INDEXES[name]
    if concurrently:
        # An interrupted build leaves an invalid index.
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
    where = sa.text(condition)
    op.create_index(
        name,
        table,
        ["course_id"],
        postgresql_where=where,
        sqlite_where=where,
        postgresql_concurrently=concurrently,
    )


def downgrade() -> None:
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
    # Both databases drop a column, with its own constraint, without rebuilding the table.
    for table, column in (
        ("enrollments", "counted"),
        ("enrollments", "bypassed_violations"),
        ("courses", "has_waiters"),
        ("courses", "completed_count"),
    ):
        op.drop_column(table, column)
