"""The runner: its reports, concurrent runs, recovery after a kill, and refusals."""

from __future__ import annotations

import getpass
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from registrar_server import migrate
from registrar_server.migrate import MigrationState, schema
from registrar_server.migrate.lock import migration_lock
from registrar_server.migrate.revisions import KnownMigrations
from tests.support.databases import execute, tables

KNOWN = KnownMigrations.read()
REVISIONS = KNOWN.revisions
COUNT = len(REVISIONS) + len(KNOWN.step_names)
DESCRIBE = "0002_describe_enrollments_in_events"
UPGRADE = "import sys; from registrar_server import migrate; migrate.upgrade(sys.argv[1])"
# Runs an upgrade or a downgrade that pauses at the nth call of a function.
PAUSE_AT_CALL = """
import pkgutil, signal, sys
from registrar_server import migrate

url, action, where, calls = sys.argv[1:]
owner, _, name = where.rpartition(".")
owner, calls = pkgutil.resolve_name(owner), int(calls)
real = getattr(owner, name)

def pause(*args, **kwargs):
    global calls
    calls -= 1
    if calls:
        return real(*args, **kwargs)
    print("paused", flush=True)
    signal.pause()

setattr(owner, name, pause)
migrate.upgrade(url) if action == "upgrade" else migrate.downgrade(url, "base")
"""
VERSION_WRITTEN = "alembic.runtime.migration:HeadMaintainer.update_to_step"
YOYO = "yoyo.backends.base:DatabaseBackend"


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "error", "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout
    assert any(words in line for line in process.stdout), f"the process ended without printing {words!r}"


class TestCheck:
    """``check`` reports a state for programs and a sentence for people."""

    def test_empty(self, empty_database_url: str) -> None:
        """A database without our tables is empty, and all migrations are pending."""
        report = migrate.check(empty_database_url)
        assert report.state is MigrationState.EMPTY
        assert report.pending[:6] == (*REVISIONS[:3], "0001_seed_event_counter", REVISIONS[3], DESCRIBE)
        assert len(report.pending) == COUNT
        assert str(report) == "The database is empty. Run `registrar-server migrate upgrade`."

    def test_behind(self, database_url: str) -> None:
        """A database at an older revision lacks the later migrations."""
        migrate.downgrade(database_url, "-1")
        report = migrate.check(database_url)
        lacking = [REVISIONS[-1], *(step.name for step in KNOWN.data_steps[REVISIONS[-1]])]
        assert report.state is MigrationState.BEHIND
        assert str(report) == (
            f"The database is at schema revision {REVISIONS[-2]} and lacks: {', '.join(lacking)}. "
            "Run `registrar-server migrate upgrade`."
        )

    def test_up_to_date(self, database_url: str) -> None:
        """A migrated database lacks nothing."""
        report = migrate.check(database_url)
        assert (report.state, report.pending) == (MigrationState.UP_TO_DATE, ())
        assert str(report) == f"The database is at schema revision {REVISIONS[-1]}, which is the newest."

    def test_unknown_revision(self, database_url: str) -> None:
        """A database of a newer version is neither upgraded nor downgraded."""
        execute(database_url, "UPDATE alembic_version SET version_num = '29991231_2359'")
        report = migrate.check(database_url)
        assert report.state is MigrationState.UNKNOWN
        assert "does not know: 29991231_2359. A newer version made them: run that one." in str(report)
        with pytest.raises(migrate.MigrationError, match="does not know: 29991231_2359"):
            migrate.upgrade(database_url)
        with pytest.raises(migrate.MigrationError, match="does not know: 29991231_2359"):
            migrate.downgrade(database_url, "base")

    def test_unknown_data_step(self, database_url: str) -> None:
        """An unknown data step is reported like an unknown revision."""
        renamed = "UPDATE _yoyo_migration SET migration_id = '9999_later' WHERE migration_id LIKE '0002%'"
        execute(database_url, renamed)
        report = migrate.check(database_url)
        assert (report.state, report.unknown) == (MigrationState.UNKNOWN, ("9999_later",))

    def test_check_creates_no_file(self, empty_sqlite_url: str) -> None:
        """A check does not create a missing SQLite file."""
        assert migrate.check(empty_sqlite_url).state is MigrationState.EMPTY
        assert not Path(str(make_url(empty_sqlite_url).database)).exists()


class TestConcurrent:
    """Only one process at a time migrates a database."""

    def test_four_processes(self, empty_database_url: str) -> None:
        """One of four processes migrates; the others wait, and have nothing left to do."""
        processes = [start(UPGRADE, empty_database_url) for _ in range(4)]
        outputs = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0, 0]
        assert sorted(output.count("_applied") for output in outputs) == [0, 0, 0, COUNT]
        assert migrate.check(empty_database_url).state is MigrationState.UP_TO_DATE

    def test_a_process_waits_for_another(self, empty_database_url: str) -> None:
        """A process logs that it waits for another one, and continues afterwards."""
        with migration_lock(make_url(empty_database_url)):
            waiting = start(UPGRADE, empty_database_url)
            wait_for(waiting, "migration_waiting")
            assert tables(empty_database_url) == set()
        assert "migration_applied" in waiting.communicate()[0]
        assert waiting.returncode == 0
        assert migrate.check(empty_database_url).state is MigrationState.UP_TO_DATE

    @pytest.mark.parametrize("migrate_it", [migrate.upgrade, lambda url, wait: migrate.downgrade(url, "-1", wait=wait)])
    def test_the_wait_for_another_process_has_a_limit_and_names_it(
        self, database_url: str, migrate_it: Callable[..., None]
    ) -> None:
        """The refusal says which process holds the lock, from where and since when."""
        with migration_lock(make_url(database_url)):
            with pytest.raises(migrate.MigrationError) as refused:
                migrate_it(database_url, wait=0.2)
            holder = holder_of(database_url)
        assert "has been migrating this database for more than 0.2 seconds: " in str(refused.value)
        assert holder in str(refused.value)
        assert "REGISTRAR_MIGRATION_WAIT" in str(refused.value)
        migrate_it(database_url, wait=0)


def holder_of(url: str) -> str:
    if url.startswith("sqlite"):
        return f"pid {os.getpid()}, on {socket.gethostname()}, since 20"
    (pid,) = execute(url, "SELECT pid FROM pg_locks WHERE locktype = 'advisory'")[0]
    return f"pid {pid}, registrar-migrate, from 127.0.0.1, since 20"


KILLED_UPGRADES = [
    pytest.param(VERSION_WRITTEN, 1, id="in-the-first-revision"),
    pytest.param(VERSION_WRITTEN, 2, id="in-the-second-revision"),
    pytest.param(VERSION_WRITTEN, 3, id="in-the-third-revision"),
    pytest.param(VERSION_WRITTEN, 4, id="in-the-fourth-revision"),
    pytest.param("yoyo.backends.base:internalmigrations.upgrade", 1, id="holding-yoyos-lock"),
    pytest.param(f"{YOYO}.apply_one", 1, id="before-the-first-data-step"),
    pytest.param(f"{YOYO}.mark_one", 1, id="before-the-first-data-step-is-marked"),
    pytest.param(f"{YOYO}.apply_one", 2, id="before-the-second-data-step"),
    pytest.param(f"{YOYO}.mark_one", 2, id="before-the-second-data-step-is-marked"),
]
KILLED_DOWNGRADES = [
    pytest.param(f"{YOYO}.rollback_one", 1, id="before-the-second-data-step"),
    pytest.param(f"{YOYO}.unmark_one", 1, id="before-the-second-data-step-is-unmarked"),
    pytest.param(VERSION_WRITTEN, 1, id="in-the-fourth-revision"),
    pytest.param(f"{YOYO}.rollback_one", 2, id="before-the-first-data-step"),
    pytest.param(f"{YOYO}.unmark_one", 2, id="before-the-first-data-step-is-unmarked"),
    pytest.param(VERSION_WRITTEN, 2, id="in-the-third-revision"),
    pytest.param(VERSION_WRITTEN, 3, id="in-the-second-revision"),
    pytest.param(VERSION_WRITTEN, 4, id="in-the-first-revision"),
]


class TestKilled:
    """After a process is killed, the next one completes the migration."""

    @pytest.mark.parametrize(("where", "calls"), KILLED_UPGRADES)
    def test_upgrade(self, empty_database_url: str, where: str, calls: int) -> None:
        """Upgrading again completes the upgrade."""
        kill(empty_database_url, "upgrade", where, calls)
        assert migrate.check(empty_database_url).pending
        migrate.upgrade(empty_database_url)
        assert_intact(empty_database_url)

    @pytest.mark.parametrize(("where", "calls"), KILLED_DOWNGRADES)
    def test_downgrade(self, database_url: str, where: str, calls: int) -> None:
        """Downgrading again completes the downgrade, and an upgrade works after it."""
        kill(database_url, "downgrade", where, calls)
        migrate.downgrade(database_url, "base")
        assert tables(database_url) == set()
        migrate.upgrade(database_url)
        assert_intact(database_url)


def kill(url: str, action: str, where: str, calls: int) -> None:
    with start(PAUSE_AT_CALL, url, action, where, str(calls)) as process:
        wait_for(process, "paused")
        process.kill()
    assert process.returncode == -signal.SIGKILL


def assert_intact(url: str) -> None:
    assert migrate.check(url).state is MigrationState.UP_TO_DATE
    assert execute(url, "SELECT id, revision FROM event_counter") == [(1, 0)]
    assert tables(url) == {
        "api_keys",
        "students",
        "courses",
        "enrollments",
        "events",
        "event_counter",
        "request_ids",
    }


def test_a_stale_lock_of_yoyo_is_removed(database_url: str) -> None:
    """A row that a killed process left in yoyo_lock does not prevent a migration."""
    execute(database_url, "INSERT INTO yoyo_lock (locked, pid) VALUES (1, 99999)")
    migrate.downgrade(database_url, "base")
    assert execute(database_url, "SELECT * FROM yoyo_lock") == []


def test_ddl_has_a_lock_timeout(postgresql_url: str) -> None:
    """DDL gives up waiting for a table's lock, but its statements may run long."""
    with schema.connect(make_url(postgresql_url)) as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "10s"
        assert connection.scalar(text("SHOW statement_timeout")) == "0"


def test_a_user_without_a_name_can_migrate(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration runs under a user id without a passwd entry, as in some containers."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    migrate.upgrade(empty_database_url)
    assert migrate.check(empty_database_url).state is MigrationState.UP_TO_DATE


def test_a_relative_path_is_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sqlite:///registrar.db`` names a file in the working folder."""
    monkeypatch.chdir(tmp_path)
    migrate.upgrade("sqlite:///registrar.db")
    assert (tmp_path / "registrar.db").exists()


class TestRefusals:
    """A refused migration says why in one sentence."""

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
    def test_in_memory(self, url: str) -> None:
        """A SQLite database in memory would disappear after the migration."""
        with pytest.raises(migrate.MigrationError, match="SQLite needs the plain path of a file"):
            migrate.upgrade(url)

    def test_missing_folder(self, tmp_path: Path) -> None:
        """A missing SQLite file is created, but a missing folder may be a typing error."""
        with pytest.raises(migrate.MigrationError, match=r"folder of the SQLite file does not exist: .*/nowhere"):
            migrate.upgrade(f"sqlite:///{tmp_path}/nowhere/registrar.db")

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("mysql://root:secret@localhost/x", "Neither SQLite nor PostgreSQL: mysql."),
            ("no url: secret", "The database URL cannot be read."),
        ],
    )
    def test_other_databases(self, url: str, words: str) -> None:
        """Other kinds of database are refused, and the message contains no password."""
        with pytest.raises(migrate.MigrationError) as refusal:
            migrate.check(url)
        assert str(refusal.value) == words

    @pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+nonsense", "sqlite+nonsense"])
    def test_missing_driver(self, driver: str, tmp_path: Path) -> None:
        """The message names a driver that is not installed or does not exist."""
        with pytest.raises(migrate.MigrationError, match=rf"driver of {re.escape(driver)} is not installed"):
            migrate.upgrade(f"{driver}:///{tmp_path}/registrar.db")

    def test_read_only_folder(self, tmp_path: Path) -> None:
        """Without a lock file nothing is migrated."""
        (tmp_path / "registrar.db.migrate.lock").mkdir()
        with pytest.raises(migrate.MigrationError, match="The lock file cannot be opened"):
            migrate.upgrade(f"sqlite:///{tmp_path}/registrar.db")

    def test_unreachable(self, postgresql_url: str) -> None:
        """A refused connection has an error class of its own, and the message contains no password."""
        url = make_url(postgresql_url).set(username="nobody-of-this-name", password="secret")
        with pytest.raises(migrate.DatabaseUnreachableError, match="does not exist") as refusal:
            migrate.check(url.render_as_string(hide_password=False))
        assert "secret" not in str(refusal.value)

    def test_not_a_database(self, tmp_path: Path) -> None:
        """A file that is not a database is not changed."""
        file = tmp_path / "notes.txt"
        file.write_text("Remember the milk. " * 100)
        with pytest.raises(migrate.MigrationError, match="file is not a database"):
            migrate.upgrade(f"sqlite:///{file}")
        assert file.read_text().startswith("Remember")

    @pytest.mark.parametrize(("action", "revision"), [("upgrade", "2001"), ("upgrade", "+9"), ("downgrade", "-99")])
    def test_no_such_revision(self, database_url: str, action: str, revision: str) -> None:
        """An unknown revision is reported, and nothing is migrated."""
        with pytest.raises(migrate.MigrationError, match="schema revision"):
            getattr(migrate, action)(database_url, revision)
        assert migrate.check(database_url).state is MigrationState.UP_TO_DATE

    def test_downgrade_to_a_later_revision(self, database_url: str) -> None:
        """A downgrade to a later revision is refused."""
        migrate.downgrade(database_url, REVISIONS[0])
        with pytest.raises(migrate.MigrationError, match="is above the revision in force"):
            migrate.downgrade(database_url, REVISIONS[1])
