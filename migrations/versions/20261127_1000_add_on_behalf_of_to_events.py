"""Add the person on whose behalf a change was made to its event.

Revision: 20261127_1000, after 20261127_0930.

Servers of the previous version go on working: their events name nobody.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "20261127_1000"
down_revision: str | None = "20261127_0930"
branch_labels: str | None = None
depends_on: str | None = None

INDEX = "ix_events_on_behalf_of_revision"
NAMED = sa.text("on_behalf_of <> ''")


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    column = sa.Column("on_behalf_of", sa.Text(), nullable=False, server_default="")
    op.add_column("events", column, if_not_exists=on_postgresql or None)
    if not on_postgresql:
        op.create_index(op.f(INDEX), "events", ["on_behalf_of", "revision"], sqlite_where=NAMED)
        return
    # Without a lock that keeps others from writing. An index that an interrupted revision left is not complete.
    with op.get_context().autocommit_block():
        op.drop_index(op.f(INDEX), "events", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            op.f(INDEX), "events", ["on_behalf_of", "revision"], postgresql_where=NAMED, postgresql_concurrently=True
        )


def downgrade() -> None:
    op.drop_index(op.f(INDEX), "events")
    op.drop_column("events", "on_behalf_of")
