"""Count the completed seats of courses, keep the violations that overrides set aside, and flag courses with waiters.

Revision: 20261126_1930, after 20261126_1625.

The revision counts the completions that it finds, and flags the courses with waiters, in pages of bounded size. On
PostgreSQL each page is a transaction of its own that locks as the servers do, and each change of a table has a short
lock, so that servers of the previous version go on working. If the revision is interrupted, it continues where it
stopped. Such servers neither count completions nor set flags. The servers of this version do so later, in the same way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
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
CHECK = "CONSTRAINT ck_courses_completed_count CHECK (completed_count >= 0)"
UNCOUNTED = "(state IN ('COMPLETED', 'VOIDED') AND counted IS NULL) OR (state = 'VOIDED' AND counted)"
INDEXES = {
    "ix_courses_has_waiters": ("courses", "has_waiters"),
    "ix_enrollments_uncounted": ("enrollments", UNCOUNTED),
}
PAGE = 1000

ENROLLMENTS = sa.table("enrollments", *map(sa.column, ("course_id", "enrollment_id", "counted", "bypassed_violations")))
COURSES = sa.table("courses", sa.column("course_id"))
IS_UNCOUNTED = sa.text(f"({UNCOUNTED})")
COMPLETIONS = (
    sa.select(ENROLLMENTS.c.course_id, ENROLLMENTS.c.enrollment_id)
    .where(IS_UNCOUNTED, ENROLLMENTS.c.course_id >= sa.bindparam("after"))
    .order_by(ENROLLMENTS.c.course_id)
    .limit(PAGE)
)
UNFLAGGED = (
    sa.select(COURSES.c.course_id, sa.literal("").label("enrollment_id"))
    .where(sa.text("has_waiters <> (waitlisted_count > 0)"), COURSES.c.course_id >= sa.bindparam("after"))
    .order_by(COURSES.c.course_id)
    .limit(PAGE)
)
LOCK = (
    sa.select(COURSES.c.course_id)
    .where(COURSES.c.course_id.in_(sa.bindparam("courses", expanding=True)))
    .order_by(COURSES.c.course_id)
    .with_for_update(key_share=True)
)
# A completion counts if it ended a seat and is not void.
COUNTS = sa.text(
    """
    (state = 'COMPLETED' AND enrollment_id IN (
        SELECT events.enrollment_id FROM events
         WHERE events.course_id IN :courses
           AND events.type = 'ENROLLMENT_COMPLETED' AND events.previous_state = 'ENROLLED'))"""
).bindparams(sa.bindparam("courses", expanding=True))
COUNT_COMPLETIONS = (
    sa.update(ENROLLMENTS)
    .where(IS_UNCOUNTED, ENROLLMENTS.c.enrollment_id.in_(sa.bindparam("enrollments", expanding=True)))
    .values(counted=COUNTS)
)
COUNT_COURSES = sa.text(
    """
    UPDATE courses SET has_waiters = waitlisted_count > 0, completed_count = (
        SELECT count(*) FROM enrollments WHERE enrollments.course_id = courses.course_id AND enrollments.counted)
     WHERE course_id IN :courses"""
).bindparams(sa.bindparam("courses", expanding=True))
SET_ASIDE = sa.text(
    "SELECT course_id, enrollment_id, CAST(violations AS TEXT) FROM events"
    " WHERE violations <> '[]' AND type <> 'PROMOTION_SKIPPED' ORDER BY course_id, revision"
)


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    with op.get_context().autocommit_block() if on_postgresql else nullcontext():
        if on_postgresql:
            _add_columns_on_postgresql()
        else:
            _add_columns_on_sqlite()
        for name in INDEXES:
            _create_index(name, concurrently=on_postgresql)
        _fill(COMPLETIONS)
        _fill(UNFLAGGED)
        _restore_violations()


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


def _add_columns_on_postgresql() -> None:
    """Add the columns and the constraint; an earlier run that was interrupted may have added some of them."""
    completed = sa.Column("completed_count", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    for table, column in (("courses", completed), *_new_columns()):
        op.add_column(table, column, if_not_exists=True)
    # The validation lets others read and write, and the exclusive lock before it needs no scan.
    op.execute("ALTER TABLE courses DROP CONSTRAINT IF EXISTS ck_courses_completed_count")
    op.execute(f"ALTER TABLE courses ADD {CHECK} NOT VALID")
    op.execute("ALTER TABLE courses VALIDATE CONSTRAINT ck_courses_completed_count")


def _add_columns_on_sqlite() -> None:
    # Alembic would rebuild the table to add the constraint.
    op.execute(f"ALTER TABLE courses ADD COLUMN completed_count BIGINT DEFAULT 0 NOT NULL {CHECK}")
    for table, column in _new_columns():
        op.add_column(table, column)


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


def _fill(find: sa.Select[Any]) -> None:
    """Complete the rows that a query finds, page by page in the order of courses."""
    bind = op.get_bind()
    after = ""
    while rows := bind.execute(find, {"after": after}).all():
        with bind.engine.begin() if bind.dialect.name == "postgresql" else nullcontext(bind) as connection:
            _complete(connection, rows)
        after = rows[-1].course_id


def _complete(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> None:
    """Count the completions of a page, then those of their courses.

    A server changes an enrollment only while it holds the lock of the course. So with that lock, each statement sees
    all changes, and none follows before the commit. The courses are locked in the order in which servers lock them.
    """
    courses, ids = sorted({row.course_id for row in rows}), [row.enrollment_id for row in rows]
    connection.execute(LOCK, {"courses": courses}).all()
    connection.execute(COUNT_COMPLETIONS, {"courses": courses, "enrollments": ids})
    connection.execute(COUNT_COURSES, {"courses": courses})


def _restore_violations() -> None:
    """Give enrollments what the history has of them, after a downgrade: older versions record no such violations."""
    bind = op.get_bind()
    set_aside: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for course_id, enrollment_id, document in bind.execute(SET_ASIDE):
        set_aside[course_id, enrollment_id] += json.loads(document)
    kept = sa.bindparam("kept", type_=DOCUMENT)
    for (course_id, enrollment_id), violations in set_aside.items():
        row = (ENROLLMENTS.c.course_id == course_id, ENROLLMENTS.c.enrollment_id == enrollment_id)
        bind.execute(sa.update(ENROLLMENTS).where(*row).values(bypassed_violations=kept), {"kept": violations})
