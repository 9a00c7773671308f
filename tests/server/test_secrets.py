"""Secrets never leave the server: the password of the database and private keys, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registrar_server.settings import Settings
from tests.support.certificates import Authority
from tests.support.servers import environment, server_process

URL = "postgresql://ada:hunter2@127.0.0.1:1/registrar"
"""Nobody listens at this address."""


def run(folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command that fails, and return all that it prints."""
    command = [sys.executable, "-m", "registrar_server", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment(**variables), capture_output=True, text=True)
    assert ended.returncode == 1, ended
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("command", ["serve", "migrate", "verify"])
@pytest.mark.parametrize("by_flag", [False, True], ids=["environment", "flag"])
def test_no_command_shows_the_password_of_a_database_that_it_cannot_reach(
    tmp_path: Path, command: str, by_flag: bool
) -> None:
    flag = ["--database-url", URL] if by_flag else []
    printed = run(tmp_path, command, *flag, database_url="sqlite:///x.db" if by_flag else URL, LOG_LEVEL="debug")
    assert "registrar-server: " in printed
    assert "hunter2" not in printed


async def test_a_server_that_cannot_listen_does_not_show_the_password_of_the_direct_url(
    postgresql_url: str, tmp_path: Path
) -> None:
    async with server_process(postgresql_url, tmp_path, DATABASE_DIRECT_URL=URL, LOG_LEVEL="debug") as server:
        line = await server.logged("listening_interrupted")
        assert "127.0.0.1" in line["error"]
        server.signal(signal.SIGTERM)
        assert await server.wait() == 0
        assert "hunter2" not in f"{server.lines} {server.others}"


@pytest.mark.parametrize("length", [60, 120, 200])
def test_a_private_key_is_never_shown(sqlite_url: str, tmp_path: Path, length: int) -> None:
    """The message about a broken key names its file and contains nothing of it."""
    pair = Authority().issue("DNS:localhost")
    pair.write(tmp_path / "cert.pem", tmp_path / "key.pem")
    os.truncate(tmp_path / "key.pem", length)
    printed = run(tmp_path, "serve", database_url=sqlite_url, TLS_CERT_FILE="cert.pem", TLS_KEY_FILE="key.pem")
    assert "key.pem" in printed
    secret = pair.key.decode().splitlines()[1]
    assert not any(secret[start : start + 8] in printed for start in range(len(secret) - 8))


def test_the_text_of_the_settings_hides_the_passwords() -> None:
    found = Settings(_env_file=None, database_url=URL, database_direct_url=URL)
    urls = f"{found.url!r} {found.url} {found.direct_url!r} {found.direct_url}"
    assert "hunter2" not in f"{found!r} {found} {urls} {found.model_dump()} {found.model_dump_json()}"
