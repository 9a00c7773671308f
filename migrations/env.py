"""Alembic's environment, for ``registrar_server.migrate`` and for the ``alembic`` command that creates revisions.

The runner passes its connection. For the command, ``-x url=…`` names the database to compare with the models.
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

# Without this filter, autogenerate would drop yoyo's tables, which have no models.
YOYO_TABLES = {"_yoyo_migration", "_yoyo_log", "_yoyo_version", "yoyo_lock"}


def is_own_table(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name not in YOYO_TABLES


def name_by_time(_context: MigrationContext, _revision: Any, scripts: Iterable[MigrationScript]) -> None:
    for script in scripts:
        script.rev_id = datetime.now(UTC).strftime("%Y%m%d_%H%M")


def check_foreign_keys(ctx: MigrationContext, step: Any, heads: Any, run_args: Any) -> None:
    # schema.py switches foreign keys off on SQLite, so check them before the revision commits.
    if ctx.connection is not None and ctx.dialect.name == "sqlite":
        schema.require_valid_foreign_keys(ctx.connection)


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_own_table,
        process_revision_directives=name_by_time,
        on_version_apply=check_foreign_keys,
        # Commit a revision together with its row in alembic_version. Alembic would not do so on SQLite by default, but
        # with schema.py DDL is transactional there, too.
        transactional_ddl=True,
        transaction_per_migration=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


if passed_connection := context.config.attributes.get("connection"):
    run(passed_connection)
else:
    url = context.get_x_argument(as_dictionary=True).get("url", "sqlite:///registrar.db")
    with schema.connect(schema.parse_url(url)) as own_connection:
        run(own_connection)
