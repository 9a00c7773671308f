"""Fixtures of all tests: migrated or empty databases on SQLite and PostgreSQL, servers, logs and certificates.

A test that takes ``database_url`` runs on both databases. Only the migrations create tables.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, create_engine, event

from registrar_server import migrate
from registrar_server.storage.database import Database
from tests.support import memory, postgres
from tests.support.certificates import Certificates
from tests.support.certificates import make as make_certificates
from tests.support.garbage import Garbage, collecting_by_hand
from tests.support.running_stores import BLOCKING, LOOP, RunningStore, close_loops
from tests.support.servers import Gate, Log, Registrar, gate_before_ledgers, registrar_on

DATABASES = ("sqlite", "postgresql")

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Keep the files of tests in memory, where possible."""
    if folder := memory.folder():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out event loops where there is no PostgreSQL, and spread the longest tests over the workers.

    Each of those starts at the beginning of a worker's share of the list.
    """
    items[:] = filter(_has_its_store, items)
    if not hasattr(config, "workerinput"):
        return
    longest = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if item not in longest]
    for number, item in enumerate(longest):
        others.insert(number * len(items) // len(longest), item)
    items[:] = others


def _has_its_store(item: pytest.Item) -> bool:
    """Return whether a test can use the stores of ``each_store``: an event loop drives PostgreSQL only."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if parameters.get("each_store") != LOOP:
        return True
    return parameters.get("database_url") == "postgresql" or "postgresql_url" in item.fixturenames  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the databases that the tests ran on."""
    try:
        binaries = postgres.find_binaries()
        terminalreporter.write_line(f"Databases: SQLite and {postgres.version(binaries)} from {binaries}")
    except LookupError as missing:
        terminalreporter.write_line(str(missing))


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    """Collect no garbage during the test; return the function that collects it."""
    with collecting_by_hand() as found:
        yield found


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL server for the session; with pytest-xdist, each worker has its own session."""
    with postgres.Cluster(durable=False) as running:
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
    """A plain engine on a freshly migrated database, with foreign keys enforced, to access it without the server."""
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


@pytest.fixture(params=[BLOCKING, LOOP])
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kind of the stores: the test runs once with those for threads and, on PostgreSQL, once in an event loop."""
    monkeypatch.setattr(RunningStore, "in_loop", request.param == LOOP)
    yield request.param
    close_loops()


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
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
    """Stubs of a real server on SQLite, for tests that do not depend on the database."""
    async with registrar_on(sqlite_url) as stubs:
        yield stubs


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """The log of this process during the test."""
    structlog.reset_defaults()  # An earlier test may have silenced the log.
    noted = Log()
    with_ids = structlog.contextvars.merge_contextvars
    structlog.configure(processors=[with_ids, structlog.processors.add_log_level, noted.note])
    yield noted
    structlog.reset_defaults()


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate in front of the ledger of every server that starts after this fixture."""
    return gate_before_ledgers(monkeypatch)
