"""Refuses connection poolers that lend a session of PostgreSQL for one transaction only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL

from registrar_server.migrate.migration_errors import DatabaseUnreachableError, MigrationError, translate_errors
from registrar_server.storage.engines import create_engine

ROUNDS = 10

_REFUSAL = (
    "A connection pooler lends sessions of PostgreSQL for single transactions only. Registrar keeps settings, prepared "
    "statements and the lock of a migration in its sessions. Set pool_mode = session for this database in PgBouncer, "
    "or connect to PostgreSQL directly."
)


def require_sessions(url: URL) -> None:
    """Check that each connection has a session of its own, as it has directly and with session pooling.

    Raises:
        MigrationError: if a pooler gives the session of a connection to another one between transactions.
    """
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        return
    with _translated_errors(), closing(_Pair(url)) as pair:
        if pair.is_pooled() and any(pair.shares_sessions() for _ in range(ROUNDS)):
            raise MigrationError(_REFUSAL)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise the errors of SQLAlchemy, and those of the driver that it does not wrap, as a ``MigrationError``."""
    try:
        with translate_errors("The database cannot be reached"):
            yield
    except psycopg.OperationalError as error:
        raise DatabaseUnreachableError(f"The database cannot be reached: {error}") from error
    except psycopg.Error as error:
        raise MigrationError(f"The database cannot be read: {error}") from error


class _Pair:
    """Two connections, with the server's settings."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, 2)
        self._pooled = [self._engine.raw_connection()]
        self._first_pid = self._pid(0)
        self._rollback()

    def is_pooled(self) -> bool:
        """Return whether there is a pooler: it tells clients another process id than that of their session."""
        if self._connection(0).info.backend_pid == self._first_pid:
            return False
        self._pooled.append(self._engine.raw_connection())
        return True

    def shares_sessions(self) -> bool:
        """Return whether the first connection lost its session between transactions, or the second one got it.

        This is certain if nothing else uses the pooler. If other clients do, it is likely at each call.
        """
        shared = self._pid(1) == self._first_pid or self._pid(0) != self._first_pid
        self._rollback()
        return shared

    def _pid(self, place: int) -> int:
        """Begin a transaction, and return the process id of its session."""
        connection = self._connection(place)
        connection.prepare_threshold = None  # Another client may have prepared a statement of the same name.
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        pid: int = row[0]
        return pid

    def _connection(self, place: int) -> psycopg.Connection[Any]:
        connection = self._pooled[place].driver_connection
        assert isinstance(connection, psycopg.Connection)
        return connection

    def _rollback(self) -> None:
        for pooled in self._pooled:
            pooled.rollback()

    def close(self) -> None:
        """Close both connections."""
        for pooled in self._pooled:
            pooled.close()
        self._engine.dispose()
