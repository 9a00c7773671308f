"""Add the keys that callers present.

Revision: 20261127_1010, after 20261127_1000.

Servers of the previous version do not know the table, and do not identify their callers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261127_1010"
down_revision: str | None = "20261127_1000"
branch_labels: str | None = None
depends_on: str | None = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("permissions", DOCUMENT, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("expire_time", sa.BigInteger()),
        sa.Column("last_use_time", sa.BigInteger()),
        sa.Column("revoke_time", sa.BigInteger()),
        sa.CheckConstraint("role IN ('reader', 'registrar', 'admin')", name=op.f("ck_api_keys_role")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
    )


def downgrade() -> None:
    op.drop_table("api_keys")
