"""What all tests share: databases, freshly migrated or empty, on SQLite and on a real PostgreSQL.

A test that takes ``database_url`` runs on both. Nothing here makes tables but the migrations.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, create_engine, event

from registrar_server import migrate
from registrar_server.storage.database import Database
from tests.support import postgres
from tests.support.certificates import Certificates
from tests.support.certificates import make as make_certificates
from tests.support.servers import Gate, Log, Registrar, gate_before_ledgers, registrar_on

DATABASES = ("sqlite", "postgresql")

_numbers = itertools.count(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which PostgreSQL the tests ran on."""
    try:
        binaries = postgres.find_binaries()
        terminalreporter.write_line(f"Databases: SQLite and {postgres.version(binaries)} from {binaries}")
    except LookupError as missing:
        terminalreporter.write_line(str(missing))


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL server of our own, for the whole session."""
    with postgres.Cluster(postgres.FAST) as running:
        yield running


@pytest.fixture(scope="session")
def _migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "registrar.db"
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def _migrated_template(cluster: postgres.Cluster) -> str:
    migrate.upgrade(cluster.create_database("migrated"))
    return "migrated"


@pytest.fixture
def sqlite_url(tmp_path: Path, _migrated_sqlite_file: Path) -> str:
    """A freshly migrated SQLite file."""
    return f"sqlite:///{shutil.copy(_migrated_sqlite_file, tmp_path)}"


@pytest.fixture
def postgresql_url(cluster: postgres.Cluster, _migrated_template: str) -> Iterator[str]:
    """A freshly migrated database on PostgreSQL."""
    name = f"test_{next(_numbers)}"
    yield cluster.create_database(name, template=_migrated_template)
    cluster.drop_database(name)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A plain engine on a freshly migrated database, with foreign keys in force; for looking past the server."""
    engine = create_engine(database_url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys = ON"))
    yield engine
    engine.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The server's access to a freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that isn't there yet."""
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
def empty_postgresql_url(cluster: postgres.Cluster) -> Iterator[str]:
    """A database on PostgreSQL without any table."""
    name = f"test_{next(_numbers)}"
    yield cluster.create_database(name)
    cluster.drop_database(name)


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database without any table: the test runs once on SQLite and once on PostgreSQL."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority with certificates for a server on this machine and for a client."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def registrar(database_url: str) -> AsyncIterator[Registrar]:
    """Stubs of a real server on a freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    async with registrar_on(database_url) as stubs:
        yield stubs


@pytest.fixture
async def sqlite_registrar(sqlite_url: str) -> AsyncIterator[Registrar]:
    """Stubs of a real server on SQLite, for what no database has a part in."""
    async with registrar_on(sqlite_url) as stubs:
        yield stubs


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """What this process logs during the test."""
    structlog.reset_defaults()  # Whoever ran before may have wished for quiet.
    noted = Log()
    with_ids = structlog.contextvars.merge_contextvars
    structlog.configure(processors=[with_ids, structlog.processors.add_log_level, noted.note])
    yield noted
    structlog.reset_defaults()


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before the ledger of every server that starts after it."""
    return gate_before_ledgers(monkeypatch)
