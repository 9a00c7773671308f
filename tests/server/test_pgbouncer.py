"""Behind PgBouncer: session pooling works, and transaction pooling is refused before anything happens.

Without PgBouncer on the machine, these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from registrar_client import AsyncRegistrarClient
from registrar_server import migrate
from registrar_server.app import StartError, start
from registrar_server.migrate.migration_errors import MigrationError
from registrar_server.storage.database import Database
from tests.support import pgbouncer
from tests.support.databases import execute
from tests.support.servers import server_process, serving, settings
from tests.support.shell import Shell

pytestmark = pytest.mark.skipif(pgbouncer.find_binary() is None, reason="pgbouncer is not installed")

ADVISORY_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
WHAT_TO_DO = "Set pool_mode = session for this database in PgBouncer, or connect to PostgreSQL directly."


@pytest.fixture
def session_url(postgresql_url: str) -> Iterator[str]:
    """A migrated database behind PgBouncer in session pooling."""
    with pgbouncer.pooled(postgresql_url, "session") as url:
        yield url


@pytest.fixture
def transaction_url(postgresql_url: str) -> Iterator[str]:
    """A migrated database behind PgBouncer in transaction pooling."""
    with pgbouncer.pooled(postgresql_url, "transaction") as url:
        yield url


async def test_calls_work_with_session_pooling(session_url: str) -> None:
    async with serving(session_url) as server, AsyncRegistrarClient(server.address) as client:
        await client.courses.create(course_id="CS-101", capacity=30)
        for number in range(30):
            await client.students.create(student_id=f"s-{number}")
            await client.enroll(student_id=f"s-{number}", course_id="CS-101")
        assert len([entry async for entry in client.list_courses(student_id="s-7")]) == 1


def test_sessions_have_the_settings_of_the_server_with_session_pooling(session_url: str) -> None:
    database = Database(session_url)
    try:
        with database.transaction() as transaction:
            shown = "SELECT current_setting('lock_timeout'), current_setting('plan_cache_mode')"
            assert transaction._connection.execute(shown).fetchone() == ("5s", "force_generic_plan")
    finally:
        database.close()


async def test_migrations_and_verify_work_with_session_pooling_and_leave_no_lock(
    tmp_path: Path, postgresql_url: str, session_url: str
) -> None:
    shell = Shell(tmp_path, session_url)
    for arguments in (("migrate", "downgrade", "base"), ("migrate",), ("verify",)):
        assert shell.run(*arguments).returncode == 0, arguments
    assert execute(postgresql_url, ADVISORY_LOCKS) == [(0,)]


async def test_a_server_behind_session_pooling_is_found_by_a_downgrade(tmp_path: Path, session_url: str) -> None:
    async with server_process(session_url, tmp_path) as server:
        await server.address()
        refused = Shell(tmp_path, session_url).run("migrate", "downgrade", "base")
        assert "Other processes use the database: " in refused.stderr
    assert migrate.check(session_url).state is migrate.MigrationState.UP_TO_DATE


async def test_a_server_does_not_start_with_transaction_pooling_and_says_what_to_do(transaction_url: str) -> None:
    with pytest.raises(StartError) as refused:
        await start(settings(transaction_url))
    assert WHAT_TO_DO in str(refused.value)


def test_migrate_and_verify_refuse_transaction_pooling_and_leave_no_lock(
    postgresql_url: str, transaction_url: str
) -> None:
    for refuse in (
        lambda: migrate.upgrade(transaction_url),
        lambda: migrate.downgrade(transaction_url, "base"),
        lambda: migrate.check(transaction_url),
    ):
        with pytest.raises(MigrationError) as refused:
            refuse()
        assert WHAT_TO_DO in str(refused.value)
    assert execute(postgresql_url, ADVISORY_LOCKS) == [(0,)]


def test_transaction_pooling_is_found_while_other_clients_use_the_pooler(
    postgresql_url: str, transaction_url: str
) -> None:
    """Sessions that change hands do so between other clients, too."""
    with pgbouncer.busy(transaction_url):
        for _ in range(10):
            with pytest.raises(MigrationError, match="single transactions only"):
                migrate.check(transaction_url)


def test_session_pooling_is_found_while_other_clients_use_the_pooler(session_url: str) -> None:
    with pgbouncer.busy(session_url):
        assert migrate.check(session_url).state is migrate.MigrationState.UP_TO_DATE


def test_statement_pooling_is_refused(postgresql_url: str) -> None:
    with (
        pgbouncer.pooled(postgresql_url, "statement") as url,
        pytest.raises(MigrationError, match="statement pooling"),
    ):
        migrate.upgrade(url)
