"""The runner: what it says of a database, many at once, killed at any point, and what it refuses."""

from __future__ import annotations

import getpass
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from registrar_server import migrate
from registrar_server.migrate import MigrationState, schema
from registrar_server.migrate.lock import migration_lock
from registrar_server.migrate.revisions import KnownMigrations
from tests.support.databases import execute, tables

REVISIONS = KnownMigrations.read().revisions
DESCRIBE = "0002_describe_enrollments_in_events"
UPGRADE = "import sys; from registrar_server import migrate; migrate.upgrade(sys.argv[1])"
# Runs an upgrade or a downgrade that stands still where it would call a function for the nth time.
STAND_STILL = """
import pkgutil, signal, sys
from registrar_server import migrate

url, action, where, calls = sys.argv[1:]
owner, _, name = where.rpartition(".")
owner, calls = pkgutil.resolve_name(owner), int(calls)
real = getattr(owner, name)

def stand_still(*args, **kwargs):
    global calls
    calls -= 1
    if calls:
        return real(*args, **kwargs)
    print("standing still", flush=True)
    signal.pause()

setattr(owner, name, stand_still)
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
    assert any(words in line for line in process.stdout), f"it ended without saying {words!r}"


class TestCheck:
    """What ``check`` says, in a state for the program and a sentence for the person."""

    def test_empty(self, empty_database_url: str) -> None:
        """A database without our tables is empty, and everything is pending."""
        report = migrate.check(empty_database_url)
        assert report.state is MigrationState.EMPTY
        assert report.pending == (*REVISIONS[:3], "0001_seed_event_counter", *REVISIONS[3:], DESCRIBE)
        assert str(report) == "The database is empty. Run `registrar-server migrate upgrade`."

    def test_behind(self, database_url: str) -> None:
        """A database at an older revision lacks what came after it."""
        migrate.downgrade(database_url, "-1")
        report = migrate.check(database_url)
        assert report.state is MigrationState.BEHIND
        assert str(report) == (
            f"The database is at schema revision {REVISIONS[-2]} and lacks: {REVISIONS[-1]}, "
            f"{DESCRIBE}. Run `registrar-server migrate upgrade`."
        )

    def test_up_to_date(self, database_url: str) -> None:
        """A migrated database lacks nothing."""
        report = migrate.check(database_url)
        assert (report.state, report.pending) == (MigrationState.UP_TO_DATE, ())
        assert str(report) == f"The database is at schema revision {REVISIONS[-1]}, which is the newest."

    def test_unknown_revision(self, database_url: str) -> None:
        """A newer version's database is recognised, and neither upgraded nor downgraded."""
        execute(database_url, "UPDATE alembic_version SET version_num = '29991231_2359'")
        report = migrate.check(database_url)
        assert report.state is MigrationState.UNKNOWN
        assert "does not know: 29991231_2359. A newer version made them: run that one." in str(report)
        with pytest.raises(migrate.MigrationError, match="does not know: 29991231_2359"):
            migrate.upgrade(database_url)
        with pytest.raises(migrate.MigrationError, match="does not know: 29991231_2359"):
            migrate.downgrade(database_url, "base")

    def test_unknown_data_step(self, database_url: str) -> None:
        """A data step of a newer version is recognised just as well."""
        renamed = "UPDATE _yoyo_migration SET migration_id = '9999_later' WHERE migration_id LIKE '0002%'"
        execute(database_url, renamed)
        report = migrate.check(database_url)
        assert (report.state, report.unknown) == (MigrationState.UNKNOWN, ("9999_later",))

    def test_asking_creates_no_file(self, empty_sqlite_url: str) -> None:
        """To ask about a SQLite file that isn't there does not create it."""
        assert migrate.check(empty_sqlite_url).state is MigrationState.EMPTY
        assert not Path(str(make_url(empty_sqlite_url).database)).exists()


class TestAtOnce:
    """However many are started on one database, one at a time migrates."""

    def test_four_processes(self, empty_database_url: str) -> None:
        """One of four migrates, the others wait and find nothing left to do."""
        processes = [start(UPGRADE, empty_database_url) for _ in range(4)]
        outputs = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0, 0]
        assert sorted(output.count("_applied") for output in outputs) == [0, 0, 0, 6]
        assert migrate.check(empty_database_url).state is MigrationState.UP_TO_DATE

    def test_one_waits_for_another(self, empty_database_url: str) -> None:
        """While someone migrates, the next one says that it waits, and goes on afterwards."""
        with migration_lock(make_url(empty_database_url)):
            waiting = start(UPGRADE, empty_database_url)
            wait_for(waiting, "migration_waiting")
            assert tables(empty_database_url) == set()
        assert "migration_applied" in waiting.communicate()[0]
        assert waiting.returncode == 0
        assert migrate.check(empty_database_url).state is MigrationState.UP_TO_DATE


KILLED_GOING_UP = [
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
KILLED_GOING_DOWN = [
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
    """A process killed at the worst moments leaves a database that the next one brings to the end."""

    @pytest.mark.parametrize(("where", "calls"), KILLED_GOING_UP)
    def test_going_up(self, empty_database_url: str, where: str, calls: int) -> None:
        """Upgrading again completes the upgrade."""
        kill(empty_database_url, "upgrade", where, calls)
        assert migrate.check(empty_database_url).pending
        migrate.upgrade(empty_database_url)
        assert_intact(empty_database_url)

    @pytest.mark.parametrize(("where", "calls"), KILLED_GOING_DOWN)
    def test_going_down(self, database_url: str, where: str, calls: int) -> None:
        """Downgrading again completes the downgrade, and everything can go up again."""
        kill(database_url, "downgrade", where, calls)
        migrate.downgrade(database_url, "base")
        assert tables(database_url) == set()
        migrate.upgrade(database_url)
        assert_intact(database_url)


def kill(url: str, action: str, where: str, calls: int) -> None:
    with start(STAND_STILL, url, action, where, str(calls)) as process:
        wait_for(process, "standing still")
        process.kill()
    assert process.returncode == -signal.SIGKILL


def assert_intact(url: str) -> None:
    assert migrate.check(url).state is MigrationState.UP_TO_DATE
    assert execute(url, "SELECT id, revision FROM event_counter") == [(1, 0)]
    assert tables(url) == {"students", "courses", "enrollments", "events", "event_counter", "request_ids"}


def test_a_stale_lock_of_yoyos_stops_nobody(database_url: str) -> None:
    """The row in yoyo_lock outlives its process; ours is the lock that counts."""
    execute(database_url, "INSERT INTO yoyo_lock (locked, pid) VALUES (1, 99999)")
    migrate.downgrade(database_url, "base")
    assert execute(database_url, "SELECT * FROM yoyo_lock") == []


def test_ddl_does_not_wait_for_ever(postgresql_url: str) -> None:
    """A revision that cannot get a table's lock gives up, for everyone queues behind it; slow ones may be slow."""
    with schema.connect(make_url(postgresql_url)) as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "10s"
        assert connection.scalar(text("SHOW statement_timeout")) == "0"


def test_a_user_without_a_name_can_migrate(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under user ids that have no passwd entry."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    migrate.upgrade(empty_database_url)
    assert migrate.check(empty_database_url).state is MigrationState.UP_TO_DATE


def test_a_relative_path_is_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sqlite:///registrar.db`` is a file here, wherever here is."""
    monkeypatch.chdir(tmp_path)
    migrate.upgrade("sqlite:///registrar.db")
    assert (tmp_path / "registrar.db").exists()


class TestRefusals:
    """What cannot be migrated is refused with a sentence that says why."""

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
    def test_in_memory(self, url: str) -> None:
        """A SQLite database in memory would be gone as soon as it is migrated."""
        with pytest.raises(migrate.MigrationError, match="SQLite needs the plain path of a file"):
            migrate.upgrade(url)

    def test_missing_folder(self, tmp_path: Path) -> None:
        """A SQLite file is created, but not the folder for it: it may well be a typing error."""
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
        """Only two kinds of database are known; the message does not repeat a password."""
        with pytest.raises(migrate.MigrationError) as refusal:
            migrate.check(url)
        assert str(refusal.value) == words

    @pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+nonsense", "sqlite+nonsense"])
    def test_missing_driver(self, driver: str, tmp_path: Path) -> None:
        """A driver that isn't installed, or doesn't exist, is named."""
        with pytest.raises(migrate.MigrationError, match=rf"driver of {re.escape(driver)} is not installed"):
            migrate.upgrade(f"{driver}:///{tmp_path}/registrar.db")

    def test_read_only_folder(self, tmp_path: Path) -> None:
        """Where no lock file can be made, nothing is done without it."""
        (tmp_path / "registrar.db.migrate.lock").mkdir()
        with pytest.raises(migrate.MigrationError, match="The lock file cannot be opened"):
            migrate.upgrade(f"sqlite:///{tmp_path}/registrar.db")

    def test_unreachable(self, postgresql_url: str) -> None:
        """A database that refuses the connection is told from one that cannot be migrated, without the password."""
        url = make_url(postgresql_url).set(username="nobody-of-this-name", password="secret")
        with pytest.raises(migrate.DatabaseUnreachableError, match="does not exist") as refusal:
            migrate.check(url.render_as_string(hide_password=False))
        assert "secret" not in str(refusal.value)

    def test_not_a_database(self, tmp_path: Path) -> None:
        """A file that is something else is left as it is."""
        file = tmp_path / "notes.txt"
        file.write_text("Remember the milk. " * 100)
        with pytest.raises(migrate.MigrationError, match="file is not a database"):
            migrate.upgrade(f"sqlite:///{file}")
        assert file.read_text().startswith("Remember")

    @pytest.mark.parametrize(("action", "revision"), [("upgrade", "2001"), ("upgrade", "+9"), ("downgrade", "-9")])
    def test_no_such_revision(self, database_url: str, action: str, revision: str) -> None:
        """A revision that isn't there is named, and nothing is done."""
        with pytest.raises(migrate.MigrationError, match="schema revision"):
            getattr(migrate, action)(database_url, revision)
        assert migrate.check(database_url).state is MigrationState.UP_TO_DATE

    def test_downgrade_upwards(self, database_url: str) -> None:
        """A downgrade never goes up."""
        migrate.downgrade(database_url, REVISIONS[0])
        with pytest.raises(migrate.MigrationError, match="is above the revision in force"):
            migrate.downgrade(database_url, REVISIONS[1])
