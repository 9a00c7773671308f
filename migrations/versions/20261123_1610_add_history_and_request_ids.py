"""Add the events, their revision counter, and the request ids.

Revision: 20261123_1610, after 20261123_1605. Data step 0001_seed_event_counter adds the counter's only row.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "20261123_1610"
down_revision: str | None = "20261123_1605"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("course_id", ID, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("student_id", ID, nullable=False),
        sa.Column("enrollment_id", ID, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("previous_state", sa.String(16), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=True),
        sa.Column("enrolled_count", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("bypassed_rules", DOCUMENT, nullable=False),
        sa.Column("changes", DOCUMENT, nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("course_id", "revision", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_revision"), "events", ["revision"])
    op.create_index(op.f("ix_events_student_id_revision"), "events", ["student_id", "revision"])
    op.create_table(
        "event_counter",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_counter")),
        sa.CheckConstraint("id = 1", name=op.f("ck_event_counter_one_row")),
    )
    op.create_table(
        "request_ids",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "request_id", name=op.f("pk_request_ids")),
    )
    op.create_index(op.f("ix_request_ids_create_time"), "request_ids", ["create_time"])


def downgrade() -> None:
    op.drop_table("request_ids")
    op.drop_table("event_counter")
    op.drop_table("events")
