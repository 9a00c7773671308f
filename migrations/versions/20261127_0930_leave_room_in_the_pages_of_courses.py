"""Leave room in the pages of courses for the next versions of their rows.

Revision: 20261127_0930, after 20261126_1930.

Each enrollment writes a new version of the row of its course. Without room in the page, PostgreSQL writes the version
to another page, with a new entry in each index. The change only concerns pages that are filled later, so it is short.
"""

from __future__ import annotations

from alembic import op

revision: str = "20261127_0930"
down_revision: str | None = "20261126_1930"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE courses SET (fillfactor = 50)")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE courses RESET (fillfactor)")
