"""``migrate downgrade`` keeps rows and disturbs no server, unless the operator insists."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registrar_server import migrate
from registrar_server.migrate.revisions import KnownMigrations
from tests.support.databases import execute, tables
from tests.support.servers import registrar_on
from tests.support.shell import Shell

REVISIONS = KnownMigrations.read().revisions


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    """A shell on a migrated database. The test runs once on SQLite and once on PostgreSQL."""
    return Shell(tmp_path, database_url)


async def fill(database_url: str) -> None:
    """Add rows with a server, which then stops."""
    async with registrar_on(database_url) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_student("s-2")
        await registrar.add_course("CS-101")
        await registrar.enroll("s-1", "CS-101")


async def test_a_downgrade_refuses_where_there_are_rows_and_says_how_many(shell: Shell, database_url: str) -> None:
    await fill(database_url)
    refused = shell.run("migrate", "downgrade", "-1")
    assert refused.returncode == 1
    assert refused.stderr.endswith(
        "registrar-server: A downgrade loses what only the later schema can hold, and these tables have rows: "
        "courses (1), enrollments (1), events (4), students (2). Back up the database, then pass --yes.\n"
    )
    assert migrate.current(database_url).revision == REVISIONS[-1]


async def test_a_downgrade_with_yes_undoes_revisions_where_there_are_rows(shell: Shell, database_url: str) -> None:
    await fill(database_url)
    assert shell.run("migrate", "downgrade", "base", "--yes").returncode == 0
    assert tables(database_url) == set()


def test_a_downgrade_without_rows_needs_no_flag(shell: Shell, database_url: str) -> None:
    assert shell.run("migrate", "downgrade", "base").returncode == 0
    assert tables(database_url) == set()


async def test_a_downgrade_to_the_current_revision_loses_nothing_and_needs_no_flag(
    shell: Shell, database_url: str
) -> None:
    await fill(database_url)
    assert shell.run("migrate", "downgrade", REVISIONS[-1]).returncode == 0


@contextlib.asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[None]:
    """Run a server that has idle connections."""
    async with registrar_on(database_url) as registrar:
        await registrar.add_student("s-1")
        yield


async def test_a_downgrade_refuses_while_a_server_is_connected(shell: Shell, database_url: str) -> None:
    async with connected(database_url):
        refused = shell.run("migrate", "downgrade", "base", "--yes")
        assert refused.returncode == 1
        assert "Other processes use the database: " in refused.stderr
        assert refused.stderr.endswith("Stop them, or pass --force.\n")
        if database_url.startswith("postgresql"):
            (pid, *_) = execute(database_url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'registrar'")
            assert f"pid {pid[0]} from 127.0.0.1 since 20" in refused.stderr
        assert migrate.current(database_url).revision == REVISIONS[-1]
    assert shell.run("migrate", "downgrade", "base", "--yes").returncode == 0


async def test_a_downgrade_with_force_ignores_connected_servers(shell: Shell, database_url: str) -> None:
    async with connected(database_url):
        assert shell.run("migrate", "downgrade", "base", "--yes", "--force").returncode == 0
        assert tables(database_url) == set()


async def test_a_server_is_known_by_the_application_name_of_the_url_too(tmp_path: Path, postgresql_url: str) -> None:
    named = f"{postgresql_url}?application_name=enrollment"
    async with connected(named):
        assert "Other processes use" in Shell(tmp_path, named).run("migrate", "downgrade", "base").stderr


async def test_a_server_that_serves_sqlite_again_after_a_refused_downgrade_is_unharmed(
    tmp_path: Path, sqlite_url: str
) -> None:
    await fill(sqlite_url)
    assert Shell(tmp_path, sqlite_url).run("migrate", "downgrade", "base").returncode == 1
    async with registrar_on(sqlite_url) as registrar:
        await registrar.enroll("s-2", "CS-101")
    assert execute(sqlite_url, "PRAGMA journal_mode") == [("wal",)]
