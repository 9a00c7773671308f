"""``registrar-server keys``: what it prints, and its exit status."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest
from registrar_server import migrate
from tests.support.api_keys import ACCEPTED, Clock, add, answer_to, bearer, id_of
from tests.support.databases import execute
from tests.support.servers import calling, serving
from tests.support.shell import Shell

KEY = re.compile(r"rk_[0-9a-f]{16}_[0-9a-f]{64}\n")
CREATE = ("keys", "create", "--name", "sis-sync", "--role", "registrar")


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    """A shell on a migrated database. The test runs once on SQLite and once on PostgreSQL."""
    return Shell(tmp_path, database_url)


@pytest.fixture
def sqlite_shell(tmp_path: Path, sqlite_url: str) -> Shell:
    """A shell on a migrated SQLite file."""
    return Shell(tmp_path, sqlite_url)


def listed(shell: Shell) -> list[list[str]]:
    """Return the cells of the rows that ``keys list`` prints, below the heads of the columns."""
    result = shell.run("keys", "list")
    assert result.returncode == 0
    head, *rows = [re.split(r" {2,}", line) for line in result.stdout.splitlines()]
    assert head == ["NAME", "ID", "ROLE", "PERMISSIONS", "CREATED", "EXPIRES", "LAST USED", "REVOKED"]
    return rows


def test_create_prints_the_key_alone_on_standard_output(shell: Shell) -> None:
    result = shell.run(*CREATE, "--override", "--on-behalf-of", "--expires", "90d")
    assert result.returncode == 0
    assert KEY.fullmatch(result.stdout)
    assert result.stdout.strip() not in result.stderr
    assert f"Key {id_of(result.stdout)} of sis-sync: registrar with on_behalf_of,override, expires 20" in result.stderr
    assert "It is the first key: from now on servers refuse callers without credentials." in result.stderr
    second = shell.run(*CREATE)
    assert "never expires" in second.stderr
    assert "first key" not in second.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_key_that_cannot_be_printed_is_revoked(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """Otherwise a key would be valid that nobody has, or that a full disk has the beginning of."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        result = shell.run(*CREATE, stdout=full)
    assert result.returncode == 1
    assert (
        "registrar-server: the key is revoked, because it cannot be printed (No space left on device)" in result.stderr
    )
    assert not [word for word in ("Traceback", "Exception", "rk_") if word in result.stderr]
    assert [row[-1] for row in listed(shell)] != ["-"]


def test_list_shows_each_key_and_no_secret(shell: Shell, database_url: str) -> None:
    assert listed(shell) == []
    keys = [shell.run(*CREATE, "--override").stdout.strip(), add(database_url, "old", lifetime=-1)]
    execute(database_url, "UPDATE api_keys SET create_time = 1800000000000000")
    execute(database_url, "UPDATE api_keys SET expire_time = 1700000000000000 WHERE name = 'old'")
    execute(database_url, "UPDATE api_keys SET last_use_time = 1800003600000000 WHERE name = 'sis-sync'")
    execute(database_url, "UPDATE api_keys SET revoke_time = 1800007200000000 WHERE name = 'sis-sync'")
    old, sync = listed(shell)
    made = "2027-01-15 08:00"
    assert old == ["old", id_of(keys[1]), "admin", "-", made, "2023-11-14 22:13 (expired)", "-", "-"]
    assert sync == [
        "sis-sync", id_of(keys[0]), "registrar", "override", made, "-", "2027-01-15 09:00", "2027-01-15 10:00"
    ]  # fmt: skip
    assert not [key for key in keys if key.split("_")[2] in shell.run("keys", "list").stdout]


def test_revoke_takes_an_id_or_a_name(shell: Shell, database_url: str) -> None:
    first, *_ = (add(database_url, name) for name in ("sis-sync", "other"))
    add(database_url, "sis-sync")
    add(database_url, "sis-sync")
    one = shell.run("keys", "revoke", id_of(first))
    assert (one.returncode, one.stdout) == (0, "1 key is revoked. Running servers notice it within 30 s.\n")
    rest = shell.run("keys", "revoke", "sis-sync")
    assert (rest.returncode, rest.stdout) == (0, "2 keys are revoked. Running servers notice it within 30 s.\n")
    assert {row[0] for row in listed(shell) if row[-1] == "-"} == {"other"}


def test_revoke_of_nothing_fails_and_does_not_show_what_may_be_a_secret(shell: Shell, database_url: str) -> None:
    key = add(database_url)
    for named in (key, "nobody", ""):
        result = shell.run("keys", "revoke", named)
        assert (result.returncode, result.stdout) == (1, "")
        assert "no key that is not revoked has this name or id" in result.stderr
        assert key not in result.stderr
    assert shell.run("keys", "revoke", "sis-sync").returncode == 0
    assert shell.run("keys", "revoke", "sis-sync").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--role", "student"], "a student has a token of the identity provider and no key"),
        (["--role", "root"], "must be one of reader, registrar, admin"),
        (["--role", "admin", "--expires", "soon"], "must be a duration"),
        (["--role", "admin", "--expires", "0s"], "must be longer than 0s"),
        (["--role", "admin", "--expires", "-1d"], "expected one argument"),
        (["--role", "admin", "--name", "SIS sync"], "must have 1 to 64 characters of a-z"),
        (["--role", "admin", "--name", "0123456789abcdef"], "must not look like the id of a key"),
        ([], "the following arguments are required: --role"),
    ],
)
def test_invalid_arguments_say_what_is_allowed(sqlite_shell: Shell, arguments: list[str], message: str) -> None:
    result = sqlite_shell.run("keys", "create", "--name", "sis-sync", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_keys_alone_prints_the_usage(sqlite_shell: Shell) -> None:
    result = sqlite_shell.run("keys")
    assert result.returncode == 2
    assert "create | list | revoke" in result.stderr


@pytest.mark.parametrize("command", [CREATE, ("keys", "list"), ("keys", "revoke", "sis-sync")])
def test_a_database_without_the_table_says_what_to_do(
    shell: Shell, database_url: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    migrate.downgrade(database_url, "20261127_1000")
    for result in (shell.run(*command), Shell(tmp_path, f"sqlite:///{tmp_path}/new.db").run(*command)):
        assert (result.returncode, result.stdout) == (1, "")
        assert "registrar-server migrate upgrade" in result.stderr
        assert "Traceback" not in result.stderr


def test_an_unreachable_database_is_reported_without_its_password(tmp_path: Path) -> None:
    result = Shell(tmp_path, "postgresql://ada:hunter2@127.0.0.1:1/registrar").run(*CREATE)
    assert (result.returncode, result.stdout) == (1, "")
    assert "127.0.0.1" in result.stderr
    assert not [word for word in ("hunter2", "Traceback") if word in result.stderr]


async def test_keys_are_made_and_revoked_while_a_server_writes(shell: Shell, database_url: str) -> None:
    """Also on SQLite, which has one writer at a time."""
    admin, clock = add(database_url, "writer"), Clock()
    async with serving(database_url, clock=clock) as server, calling(server.address) as registrar:
        over = asyncio.Event()

        async def write() -> int:
            count = 0
            while not over.is_set():
                count += 1
                request = CreateStudentRequest(student=Student(student_id=f"s-{count}"))
                await registrar.students.CreateStudent(request, metadata=bearer(admin))
            return count

        writing = asyncio.create_task(write())
        made = await asyncio.to_thread(shell.run, *CREATE)
        key = made.stdout.strip()
        assert await answer_to(registrar, key) == ACCEPTED
        revoked = await asyncio.to_thread(shell.run, "keys", "revoke", "sis-sync")
        clock.now = 30.0
        assert await answer_to(registrar, key) == "CREDENTIALS_INVALID"
        over.set()
        assert await writing > 0
    assert (made.returncode, revoked.returncode) == (0, 0)
