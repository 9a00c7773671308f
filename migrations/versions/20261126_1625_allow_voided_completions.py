"""Allow enrollments to be VOIDED.

Revision: 20261126_1625, after 20261126_1610.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_1625"
down_revision: str | None = "20261126_1610"
branch_labels: str | None = None
depends_on: str | None = None

NAME = "ck_enrollments_state"
BEFORE = "state IN ('ENROLLED', 'WAITLISTED', 'DROPPED', 'COMPLETED')"
AFTER = "state IN ('ENROLLED', 'WAITLISTED', 'DROPPED', 'COMPLETED', 'VOIDED')"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        rebuild(AFTER)
        return
    # Exchange the constraint without a scan, so that the exclusive lock is short. The validation lets others read and
    # write. A revision that ends in between can be repeated.
    op.execute(f"ALTER TABLE enrollments DROP CONSTRAINT IF EXISTS {NAME}")
    op.execute(f"ALTER TABLE enrollments ADD CONSTRAINT {NAME} CHECK ({AFTER}) NOT VALID")
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE enrollments VALIDATE CONSTRAINT {NAME}")


def downgrade() -> None:
    # This fails and changes nothing if enrollments are VOIDED: the previous version has no other state for them.
    if op.get_bind().dialect.name == "sqlite":
        rebuild(BEFORE)
        return
    op.drop_constraint(op.f(NAME), "enrollments", type_="check")
    op.create_check_constraint(op.f(NAME), "enrollments", BEFORE)


def rebuild(condition: str) -> None:
    with op.batch_alter_table("enrollments") as enrollments:
        enrollments.drop_constraint(op.f(NAME), type_="check")
        enrollments.create_check_constraint(op.f(NAME), sa.text(condition))
