"""Add the indexes of ListEvents and ListEnrollments.

Revision: 20261126_1610, after 20261124_2345.

On PostgreSQL the indexes are built concurrently, so that servers go on writing. If the revision is interrupted, it
builds them again.
"""

from __future__ import annotations

from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_1610"
down_revision: str | None = "20261124_2345"
branch_labels: str | None = None
depends_on: str | None = None

INDEXES = {
    "ix_enrollments_update_time": ("enrollments", ["update_time"], None),
    "ix_events_type_revision": ("events", ["type", "revision"], None),
    "ix_events_time_revision": ("events", ["time", "revision"], None),
    "ix_events_actor_revision": ("events", ["actor", "revision"], sa.text("actor <> ''")),
}


def upgrade() -> None:
    concurrently = op.get_bind().dialect.name == "postgresql"
    with op.get_context().autocommit_block() if concurrently else nullcontext():
        for name, (table, columns, partial) in INDEXES.items():
            if concurrently:
                # An interrupted build leaves an invalid index.
                op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
            op.create_index(
                name,
                table,
                columns,
                postgresql_where=partial,
                sqlite_where=partial,
                postgresql_concurrently=concurrently,
            )


def downgrade() -> None:
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
