"""${message}.

Revision: ${up_revision}, after ${down_revision | comma,n}.
"""

# Before you fill this in (and take this comment out again):
#
# * Servers of the last release run while this runs, and after it. Only add what they can ignore: tables, nullable
#   columns, columns with a server default. Drop or rename in a later release, when nothing reads the old name.
# * Adding a column that must be filled takes three steps: a revision that adds it nullable, a data step in
#   migrations/data that fills it (`-- schema: ${up_revision}`), a revision that makes it NOT NULL.
# * A statement that waits for a table's lock makes everything after it wait too. The runner gives up after 10 s
#   (lock_timeout); the revision is rolled back whole and can simply be run again.
# * Building an index on a large PostgreSQL table blocks its writers. Build it aside, and so that it can be repeated:
#     with op.get_context().autocommit_block():
#         op.create_index(op.f("ix_…"), "…", ["…"], postgresql_concurrently=True, if_not_exists=True)
#   alone in its revision, behind `if op.get_bind().dialect.name == "postgresql"`. One that was killed half-way leaves
#   an INVALID index: drop it before you create it.
# * A new CHECK or FOREIGN KEY on a large table: create it NOT VALID here, VALIDATE CONSTRAINT in the next revision.
# * SQLite cannot alter a constraint or a column: use `with op.batch_alter_table("…") as table:`, which copies the table.
# * Autogenerate sees no changed CHECK, and cannot tell a rename from a drop and an add. Read every line it wrote.
# * Give each constraint its full name, in op.f(), as models.py's naming convention would.
# * Never import models.py: it will change, and this must not.
# * Write the downgrade: the tests go up, down and up again, on both databases.

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
