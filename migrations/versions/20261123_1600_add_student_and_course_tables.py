"""Add the student and course tables.

Revision: 20261123_1600, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "20261123_1600"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "students",
        sa.Column("student_id", ID, nullable=False),
        sa.Column("given_name", sa.Text(), nullable=False),
        sa.Column("family_name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("max_credits", sa.BigInteger(), nullable=True),
        sa.Column("holds", DOCUMENT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=True),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("student_id", name=op.f("pk_students")),
        sa.CheckConstraint("state IN ('ACTIVE', 'INACTIVE')", name=op.f("ck_students_state")),
        sa.CheckConstraint("max_credits >= 0", name=op.f("ck_students_max_credits")),
    )
    op.create_table(
        "courses",
        sa.Column("course_id", ID, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=True),
        sa.Column("waitlist_capacity", sa.BigInteger(), nullable=True),
        sa.Column("enroll_open_time", sa.BigInteger(), nullable=True),
        sa.Column("enroll_close_time", sa.BigInteger(), nullable=True),
        sa.Column("drop_deadline_time", sa.BigInteger(), nullable=True),
        sa.Column("meetings", DOCUMENT, nullable=False),
        sa.Column("prerequisite_course_ids", DOCUMENT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("delete_time", sa.BigInteger(), nullable=True),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.Column("enrolled_count", sa.BigInteger(), nullable=False),
        sa.Column("waitlisted_count", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("course_id", name=op.f("pk_courses")),
        sa.CheckConstraint("state IN ('OPEN', 'CANCELLED')", name=op.f("ck_courses_state")),
        sa.CheckConstraint("credits >= 0", name=op.f("ck_courses_credits")),
        sa.CheckConstraint("capacity >= 0", name=op.f("ck_courses_capacity")),
        sa.CheckConstraint("waitlist_capacity >= 0", name=op.f("ck_courses_waitlist_capacity")),
        sa.CheckConstraint("enrolled_count >= 0", name=op.f("ck_courses_enrolled_count")),
        sa.CheckConstraint("waitlisted_count >= 0", name=op.f("ck_courses_waitlisted_count")),
        sa.CheckConstraint("enroll_open_time < enroll_close_time", name=op.f("ck_courses_enroll_window")),
    )
    op.create_index(op.f("ix_courses_code_course_id"), "courses", ["code", "course_id"])
    op.create_index(op.f("ix_courses_term_course_id"), "courses", ["term", "course_id"])


def downgrade() -> None:
    op.drop_table("courses")
    op.drop_table("students")
