"""The command line: what it prints, and the status it ends with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.databases import tables
from tests.support.servers import environment


class Shell:
    """Runs ``registrar-server`` in a folder of its own, on one database."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._environment = environment(database_url)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "registrar_server", *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def shell(tmp_path: Path, empty_database_url: str) -> Shell:
    """A shell before an empty database: the test runs once on SQLite and once on PostgreSQL."""
    return Shell(tmp_path, empty_database_url)


@pytest.fixture
def sqlite_shell(tmp_path: Path, empty_sqlite_url: str) -> Shell:
    """A shell before a SQLite file that isn't there yet."""
    return Shell(tmp_path, empty_sqlite_url)


def test_migrate_takes_a_database_up_and_down(shell: Shell, empty_database_url: str) -> None:
    assert shell.run("migrate", "check").returncode == 1
    assert shell.run("migrate", "upgrade").returncode == 0
    assert {"students", "courses", "enrollments", "events"} <= set(tables(empty_database_url))
    checked = shell.run("migrate", "check")
    assert (checked.returncode, "which is the newest" in checked.stdout) == (0, True)
    assert "0001_seed_event_counter" in shell.run("migrate", "current").stdout
    assert shell.run("migrate", "downgrade", "base").returncode == 0
    assert "students" not in tables(empty_database_url)
    assert shell.run("migrate", "current").stdout.splitlines() == ["schema: none", "data: none"]


def test_downgrade_wants_to_be_told_how_far(sqlite_shell: Shell) -> None:
    ended = sqlite_shell.run("migrate", "downgrade")
    assert (ended.returncode, "downgrade to what?" in ended.stderr) == (2, True)


def test_an_unknown_revision_is_refused(sqlite_shell: Shell) -> None:
    ended = sqlite_shell.run("migrate", "upgrade", "nonsense")
    assert ended.returncode == 1
    assert "nonsense" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_does_not_start_on_an_empty_database(shell: Shell) -> None:
    ended = shell.run("serve")
    assert ended.returncode == 1
    assert "The database is empty" in ended.stderr
    assert "registrar-server migrate upgrade" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_setting_ends_with_a_sentence(sqlite_shell: Shell) -> None:
    ended = sqlite_shell.run("serve", "--listen", "0.0.0.0:0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("registrar-server: REGISTRAR_LISTEN=0.0.0.0:0 can be reached from other machines")
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_away_ends_with_a_sentence(sqlite_shell: Shell) -> None:
    ended = sqlite_shell.run("serve", "--database-url", "postgresql://ada:hunter2@127.0.0.1:1/registrar")
    assert ended.returncode == 1
    assert "127.0.0.1" in ended.stderr
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [(), ("sing",), ("migrate", "sideways"), ("serve", "--loud")])
def test_what_is_not_understood_ends_with_usage(sqlite_shell: Shell, arguments: tuple[str, ...]) -> None:
    ended = sqlite_shell.run(*arguments)
    assert ended.returncode == 2
    assert "usage: registrar-server" in ended.stderr


def test_help_names_the_variables_of_flags(sqlite_shell: Shell) -> None:
    shown = sqlite_shell.run("serve", "--help")
    assert shown.returncode == 0
    assert "REGISTRAR_LISTEN" in shown.stdout
    assert "REGISTRAR_DATABASE_URL" in shown.stdout


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text("raise ModuleNotFoundError('no structlog here', name='structlog')\n")
    ended = subprocess.run(
        [sys.executable, "-c", "from registrar_server.__main__ import main; main()"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "registrar-server needs the package structlog: pip install 'registrar-enrollment[server]'\n"
