"""Runs single Alembic revisions, on connections that are configured for DDL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from registrar_server.migrate.migration_errors import MigrationError
from registrar_server.migrate.revisions import alembic_config

SQLITE_BUSY_TIMEOUT_SECONDS = 30
APPLICATION_NAME = "registrar-migrate"
# While DDL waits for a table's lock, every later query on the table waits behind it, so a migration gives up early and
# can be repeated. A single statement of a migration may run long, whatever limit the role has.
POSTGRESQL_SETTINGS = "SET lock_timeout = '10s'; SET statement_timeout = 0"


def parse_url(text: str) -> URL:
    """Parse a database URL and check that it names a database that can be migrated.

    Raises:
        MigrationError: for an invalid URL, another kind of database, a SQLite database in memory, or a SQLite file in
            a folder that does not exist.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise MigrationError("The database URL cannot be read.") from error
    if url.get_backend_name() == "sqlite":
        _require_file(url)
    elif url.get_backend_name() != "postgresql":
        raise MigrationError(f"Neither SQLite nor PostgreSQL: {url.get_backend_name()}.")
    return url


def _require_file(url: URL) -> None:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise MigrationError("SQLite needs the plain path of a file; a database in memory cannot be migrated.")
    parent = resolved_file(url).parent
    if not parent.is_dir():
        raise MigrationError(f"The folder of the SQLite file does not exist: {parent}")


def resolved_file(url: URL) -> Path:
    """Return the file that a SQLite URL names; a relative path is relative to the working folder."""
    return Path(url.database or "").resolve()


@contextmanager
def connect(url: URL) -> Iterator[Connection]:
    """Open a connection for DDL, which is closed and never pooled."""
    engine = _engine(url)
    prepare = _prepare_sqlite if engine.dialect.name == "sqlite" else _prepare_postgresql
    prepare(engine)
    with engine.connect() as connection:
        yield connection


@contextmanager
def connect_autocommit(url: URL) -> Iterator[Connection]:
    """Open a connection that commits each statement by itself."""
    with _engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def _engine(url: URL) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    arguments = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS} if sqlite else {"application_name": APPLICATION_NAME}
    try:
        return create_engine(url, poolclass=NullPool, connect_args=arguments)
    except (ImportError, NoSuchModuleError) as error:
        raise MigrationError(f"The driver of {url.drivername} is not installed.") from error


def _prepare_sqlite(engine: Engine) -> None:
    # Python's sqlite3 begins a transaction only before INSERT, UPDATE and DELETE, so each DDL statement would commit by
    # itself. With isolation_level None it never begins one, and our own BEGIN covers the whole revision.
    @event.listens_for(engine, "connect")
    def connected(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        # Batch mode drops and rebuilds a table. With foreign keys on, dropping a parent would delete its children.
        connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: object, _record: object) -> None:
        connection.execute(POSTGRESQL_SETTINGS)  # type: ignore[attr-defined]
        connection.commit()  # type: ignore[attr-defined]


def require_valid_foreign_keys(connection: Connection) -> None:
    """On SQLite, check that no foreign key points to a missing row.

    Raises:
        MigrationError: naming the tables with such rows.
    """
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if rows:
        tables = ", ".join(sorted({str(row.table) for row in rows}))
        raise MigrationError(f"The revision would leave rows that refer to nothing, in: {tables}.")


def revision_of(connection: Connection) -> str | None:
    """Return the current schema revision, ``None`` before the first."""
    heads = MigrationContext.configure(connection).get_current_heads()
    return max(heads, default=None)


def upgrade_one(url: URL, revision: str) -> None:
    """Upgrade by one revision, to this one, in one transaction."""
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade_one(url: URL, revision: str) -> None:
    """Downgrade by one revision, from this one, in one transaction."""
    _run(url, lambda config: command.downgrade(config, f"{revision}-1"))


def _run(url: URL, action: Callable[[Config], None]) -> None:
    config = alembic_config()
    with connect(url) as connection:
        config.attributes["connection"] = connection
        action(config)
