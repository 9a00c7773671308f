"""Brings a database to a schema revision: Alembic for the schema, yoyo for the data steps between.

Every data step names the revision that it follows, so the two are run as one line of steps, oldest first.
Running them twice, at once from many processes, or again after a kill at any point ends in the same database.
"""

from registrar_server.migrate.errors import DatabaseUnreachableError, MigrationError
from registrar_server.migrate.runner import Applied, Report, State, check, current, downgrade, upgrade

__all__ = [
    "Applied",
    "DatabaseUnreachableError",
    "MigrationError",
    "Report",
    "State",
    "check",
    "current",
    "downgrade",
    "upgrade",
]
