"""Migrates a database to a schema revision: Alembic changes the schema, yoyo runs the data steps in between.

Each data step names the revision that it follows, so both kinds run in one order, oldest first. A migration may
start in several processes at once: one migrates, and the others wait. After a kill at any point it may run again. The
result is the same database.
"""

from registrar_server.migrate.migration_errors import DatabaseUnreachableError, MigrationError
from registrar_server.migrate.runner import (
    AppliedMigrations,
    MigrationReport,
    MigrationState,
    check,
    checker,
    current,
    downgrade,
    upgrade,
)

__all__ = [
    "AppliedMigrations",
    "DatabaseUnreachableError",
    "MigrationError",
    "MigrationReport",
    "MigrationState",
    "check",
    "checker",
    "current",
    "downgrade",
    "upgrade",
]
