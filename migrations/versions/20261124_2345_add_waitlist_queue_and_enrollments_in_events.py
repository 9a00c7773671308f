"""Add an index of the waitlists, the last skip of an enrollment, and details of the enrollment to events.

Revision: 20261124_2345, after 20261123_1610. Data step 0002_describe_enrollments_in_events completes existing events.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "20261124_2345"
down_revision: str | None = "20261123_1610"
branch_labels: str | None = None
depends_on: str | None = None

DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
WAITING = sa.text("state = 'WAITLISTED'")


def upgrade() -> None:
    # Existing rows need a value now. The server sets it in new rows, so the default is removed again.
    with op.batch_alter_table("enrollments") as enrollments:
        enrollments.add_column(sa.Column("last_skip", DOCUMENT, nullable=False, server_default="[]"))
    with op.batch_alter_table("enrollments") as enrollments:
        enrollments.alter_column("last_skip", server_default=None)
    op.create_index(
        "ix_enrollments_waitlist",
        "enrollments",
        ["course_id", "number"],
        postgresql_where=WAITING,
        sqlite_where=WAITING,
    )
    with op.batch_alter_table("events") as events:
        events.add_column(sa.Column("waitlisted_count", sa.BigInteger(), nullable=True))
        events.add_column(sa.Column("enrollment_version", sa.BigInteger(), nullable=True))
        events.add_column(sa.Column("grade", sa.Text(), nullable=False, server_default=""))
        events.add_column(sa.Column("passed", sa.Boolean(), nullable=True))
        events.add_column(sa.Column("violations", DOCUMENT, nullable=False, server_default="[]"))
    with op.batch_alter_table("events") as events:
        events.alter_column("grade", server_default=None)
        events.alter_column("violations", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("events") as events:
        for column in ("violations", "passed", "grade", "enrollment_version", "waitlisted_count"):
            events.drop_column(column)
    op.drop_index("ix_enrollments_waitlist", table_name="enrollments")
    with op.batch_alter_table("enrollments") as enrollments:
        enrollments.drop_column("last_skip")
