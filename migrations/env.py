"""How Alembic meets a database: for ``registrar_server.migrate``, or for ``alembic`` writing a revision.

The runner hands its connection over. By hand, ``-x url=…`` names the database to compare the models with.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from alembic import context
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from registrar_server.migrate import schema
from registrar_server.storage.models import Base

# These belong to yoyo. Alembic finds no model for them and would drop them.
YOYO_TABLES = {"_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"}


def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name not in YOYO_TABLES


def name_by_time(_context: MigrationContext, _revision: Any, scripts: Iterable[MigrationScript]) -> None:
    for script in scripts:
        script.rev_id = datetime.now(UTC).strftime("%Y%m%d_%H%M")


def check_foreign_keys(ctx: MigrationContext, step: Any, heads: Any, run_args: Any) -> None:
    # Foreign keys are off on SQLite (see schema.py), so what a revision broke is looked for before its
    # commit.
    if ctx.connection is not None and ctx.dialect.name == "sqlite":
        schema.require_valid_foreign_keys(ctx.connection)


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_ours,
        process_revision_directives=name_by_time,
        on_version_apply=check_foreign_keys,
        # A revision and its row in alembic_version stand or fall together, on SQLite too: schema.py makes its
        # transactions span DDL, which Alembic doesn't expect of that database.
        transactional_ddl=True,
        transaction_per_migration=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


if handed_over := context.config.attributes.get("connection"):
    run(handed_over)
else:
    url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///registrar.db")
    with schema.connect(schema.parse_url(url)) as own_connection:
        run(own_connection)
