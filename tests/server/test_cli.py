"""The command line: its output and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import registrar_client
from tests.support.databases import tables
from tests.support.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, empty_database_url: str) -> Shell:
    """A shell on an empty database. The test runs once on SQLite and once on PostgreSQL."""
    return Shell(tmp_path, empty_database_url)


@pytest.fixture
def sqlite_shell(tmp_path: Path, empty_sqlite_url: str) -> Shell:
    """A shell on a SQLite file that does not exist yet."""
    return Shell(tmp_path, empty_sqlite_url)


def test_migrate_upgrades_and_downgrades_a_database(shell: Shell, empty_database_url: str) -> None:
    assert shell.run("migrate", "check").returncode == 1
    assert shell.run("migrate", "upgrade").returncode == 0
    assert {"students", "courses", "enrollments", "events"} <= set(tables(empty_database_url))
    checked = shell.run("migrate", "check")
    assert (checked.returncode, "which is the newest" in checked.stdout) == (0, True)
    assert "0001_seed_event_counter" in shell.run("migrate", "current").stdout
    assert shell.run("migrate", "downgrade", "base").returncode == 0
    assert "students" not in tables(empty_database_url)
    assert shell.run("migrate", "current").stdout.splitlines() == ["schema: none", "data: none"]


def test_downgrade_requires_a_revision(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("migrate", "downgrade")
    assert (result.returncode, "downgrade to what?" in result.stderr) == (2, True)


def test_an_unknown_revision_is_refused(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("migrate", "upgrade", "nonsense")
    assert result.returncode == 1
    assert "nonsense" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_does_not_start_on_an_empty_database(shell: Shell) -> None:
    result = shell.run("serve")
    assert result.returncode == 1
    assert "The database is empty" in result.stderr
    assert "registrar-server migrate upgrade" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_invalid_setting_is_reported_without_a_traceback(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("serve", "--listen", "0.0.0.0:0")
    assert result.returncode == 1
    assert result.stderr.startswith("registrar-server: REGISTRAR_LISTEN=0.0.0.0:0 can be reached from other machines")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "command",
    ["serve", "serve --migrate", "verify", "migrate", "migrate current", "migrate check", "migrate downgrade -1"],
)
def test_an_unreachable_database_is_reported_without_a_traceback(tmp_path: Path, command: str) -> None:
    result = Shell(tmp_path, "postgresql://ada:hunter2@127.0.0.1:1/registrar").run(*command.split())
    assert result.returncode == 1
    assert "127.0.0.1" in result.stderr
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [(), ("sing",), ("migrate", "sideways"), ("serve", "--loud")])
def test_invalid_arguments_print_the_usage(sqlite_shell: Shell, arguments: tuple[str, ...]) -> None:
    result = sqlite_shell.run(*arguments)
    assert result.returncode == 2
    assert "usage: registrar-server" in result.stderr


def test_help_names_the_variable_of_each_flag(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("serve", "--help")
    assert result.returncode == 0
    assert "REGISTRAR_LISTEN" in result.stdout
    assert "REGISTRAR_HTTP_LISTEN" in result.stdout
    assert "REGISTRAR_DATABASE_URL" in result.stdout


def test_a_missing_package_is_reported_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text("raise ModuleNotFoundError('no structlog here', name='structlog')\n")
    result = subprocess.run(
        [sys.executable, "-c", "from registrar_server.__main__ import main; main()"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "registrar-server needs the package structlog: pip install 'registrar-enrollment[server]'\n"


def test_migrate_alone_upgrades(shell: Shell, empty_database_url: str) -> None:
    assert shell.run("migrate").returncode == 0
    assert "students" in tables(empty_database_url)


def test_help_explains_each_word_of_migrate(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("migrate", "--help")
    assert result.returncode == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    words = ("upgrade", "downgrade", "current", "check", "head", "base", "+1, -1", "--yes", "--force", "--wait")
    for word in words:
        assert any(line.startswith(word) and len(line.split()) > 3 for line in lines), word


def test_version_is_that_of_the_distribution(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("--version")
    assert (result.returncode, result.stdout) == (0, f"registrar-server {registrar_client.__version__}\n")
