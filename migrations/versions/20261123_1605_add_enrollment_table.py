"""Add the enrollment table.

Revision: 20261123_1605, after 20261123_1600.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "20261123_1605"
down_revision: str | None = "20261123_1600"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
LIVE = "state IN ('ENROLLED', 'WAITLISTED')"


def upgrade() -> None:
    op.create_table(
        "enrollments",
        sa.Column("course_id", ID, nullable=False),
        sa.Column("enrollment_id", ID, nullable=False),
        sa.Column("student_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("bypassed_rules", DOCUMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("course_id", "enrollment_id", name=op.f("pk_enrollments")),
        sa.ForeignKeyConstraint(["course_id"], ["courses.course_id"], name=op.f("fk_enrollments_course_id")),
        sa.ForeignKeyConstraint(["student_id"], ["students.student_id"], name=op.f("fk_enrollments_student_id")),
        sa.UniqueConstraint("course_id", "number", name=op.f("uq_enrollments_course_id_number")),
        sa.UniqueConstraint(
            "student_id", "course_id", "attempt", name=op.f("uq_enrollments_student_id_course_id_attempt")
        ),
        sa.CheckConstraint(
            "state IN ('ENROLLED', 'WAITLISTED', 'DROPPED', 'COMPLETED')", name=op.f("ck_enrollments_state")
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_enrollments_attempt")),
        sa.CheckConstraint(f"({LIVE}) = (end_time IS NULL)", name=op.f("ck_enrollments_end_time")),
    )
    op.create_index(op.f("ix_enrollments_enrollment_id"), "enrollments", ["enrollment_id"])
    op.create_index(
        op.f("uq_enrollments_live"),
        "enrollments",
        ["student_id", "course_id"],
        unique=True,
        postgresql_where=sa.text(LIVE),
        sqlite_where=sa.text(LIVE),
    )


def downgrade() -> None:
    op.drop_table("enrollments")
