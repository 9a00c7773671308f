"""${message}.

Revision: ${up_revision}, after ${down_revision | comma,n}.
"""

# Read this, write the revision, then delete this comment:
#
# * Servers of the previous version run during and after this revision, so it may only add what they can ignore: tables,
#   nullable columns, and columns with a server default. Drop or rename in a later version, when no server uses the old
#   name any more.
# * Change no data here. To add a required column, write a revision that adds it as nullable, a data step in
#   migrations/data that fills it (`-- schema: ${up_revision}`), and a revision that makes it NOT NULL. Only what SQL
#   cannot compute is filled in Python, in pages, and on PostgreSQL in an autocommit_block: see
#   20261126_1601_add_components_and_keys.py.
# * DDL that waits for a table's lock blocks every later query on the table. After 10 s (lock_timeout) it fails, the
#   revision is rolled back, and it can be repeated.
# * Create an index on a large PostgreSQL table in a revision of its own, and concurrently, so as not to block writers:
#     with op.get_context().autocommit_block():
#         op.create_index(op.f("ix_…"), "…", ["…"], postgresql_concurrently=True, if_not_exists=True)
#   Do so only if `op.get_bind().dialect.name == "postgresql"`. A killed build leaves an INVALID index: drop it first.
# * Create a CHECK or FOREIGN KEY on a large table as NOT VALID, and VALIDATE CONSTRAINT in the next revision.
# * SQLite cannot alter columns or constraints. `with op.batch_alter_table("…") as table:` copies the table instead.
# * Autogenerate does not see a changed CHECK, and takes a rename for a drop and an add. Check every line of it.
# * Write every constraint's full name in op.f(), following the naming convention in models.py.
# * Do not import models.py: it changes later, but this revision must not.
# * Write the downgrade. The tests upgrade, downgrade and upgrade again, on both SQLite and PostgreSQL.

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
