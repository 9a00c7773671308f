"""What forbids a downgrade unless the operator insists: rows that it could lose, and processes that are connected."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sqlalchemy import URL, Connection, func, inspect, select, table, text

from registrar_server.migrate.migration_errors import MigrationError
from registrar_server.migrate.schema import connect_autocommit, resolved_file
from registrar_server.storage.engines import application_name
from registrar_server.storage.models import Base, EventCounter

_CONNECTED = text("""
    SELECT format('pid %s from %s since %s', pid, coalesce(host(client_addr), 'the same machine'), backend_start)
      FROM pg_stat_activity
     WHERE datname = current_database() AND application_name IN ('registrar', :name) AND pid <> pg_backend_pid()
     ORDER BY pid
""")


def require_no_rows(url: URL) -> None:
    """Check that the tables are empty.

    Raises:
        MigrationError: naming the tables that are not, with the number of their rows.
    """
    with connect_autocommit(url) as connection:
        counts = _row_counts(connection)
    if found := ", ".join(f"{name} ({count:,})" for name, count in counts.items() if count):
        raise MigrationError(
            f"A downgrade loses what only the later schema can hold, and these tables have rows: {found}. "
            "Back up the database, then pass --yes."
        )


def _row_counts(connection: Connection) -> dict[str, int]:
    existing = set(inspect(connection).get_table_names())
    # The event counter always has one row, and events if it has counted any.
    names = [name for name in Base.metadata.tables if name in existing and name != EventCounter.__tablename__]
    return {name: connection.scalar(select(func.count()).select_from(table(name))) or 0 for name in sorted(names)}


def require_alone(url: URL) -> None:
    """Check that no other process of Registrar is connected.

    On PostgreSQL, connections are known by their ``application_name``. On SQLite, any process with an open connection
    counts.

    Raises:
        MigrationError: if there is one.
    """
    others = _connected_to_postgresql(url) if url.get_backend_name() == "postgresql" else _connected_to_sqlite(url)
    if others:
        raise MigrationError(f"Other processes use the database: {others}. Stop them, or pass --force.")


def _connected_to_postgresql(url: URL) -> str:
    with connect_autocommit(url) as connection:
        return "; ".join(connection.scalars(_CONNECTED, {"name": application_name(url)}))


def _connected_to_sqlite(url: URL) -> str:
    # A server uses WAL mode, which SQLite leaves only if no other connection is open. The next server returns to it.
    with closing(sqlite3.connect(resolved_file(url), timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise MigrationError(f"The database cannot be locked: {error}") from error
            return "it is open elsewhere"
    return ""
