"""Secrets never leave the server: the password of the database and private keys, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registrar_server.cli import main
from registrar_server.settings import Settings
from tests.support.certificates import Authority
from tests.support.servers import calling, environment, server_process
from tests.support.watching import watching_live

URL = "postgresql://ada:hunter2@127.0.0.1:1/registrar"
"""Nobody listens at this address."""


COMMANDS = ["serve", "migrate", "verify", "keys create --name sis --role reader", "keys list", "keys revoke sis"]


def run(folder: Path, *arguments: str, status: int = 1, **variables: str) -> str:
    """Run a command that ends with a status, and return all that it prints."""
    command = [sys.executable, "-m", "registrar_server", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment(**variables), capture_output=True, text=True)
    assert ended.returncode == status, ended
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_the_password_of_a_database_that_it_cannot_reach(tmp_path: Path, command: str) -> None:
    printed = run(tmp_path, *command.split(), database_url=URL, LOG_LEVEL="debug")
    assert "registrar-server: " in printed
    assert "127.0.0.1" in printed
    assert "hunter2" not in printed


class TestFlags:
    """Other users of the machine can read the flags of a process, so no flag takes a password."""

    REFUSED = "registrar-server: error: a flag must not contain a password"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_refuses_a_password(self, tmp_path: Path, command: str) -> None:
        """The refusal says where the URL belongs, and nothing has happened to the database that is set there."""
        given = [*command.split(), "--database-url", URL]
        printed = run(tmp_path, *given, status=2, database_url="sqlite:///registrar.db")
        assert self.REFUSED in printed
        assert "REGISTRAR_DATABASE_URL" in printed
        assert "hunter2" not in printed
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "arguments",
        [
            ["verify", f"--database-url={URL}"],
            ["verify", "--database-url", "postgresql://127.0.0.1/registrar?sslmode=require&password=hunter2"],
            ["verify", "--database-url", "postgresql://127.0.0.1/registrar?pass%77ord=hunter2"],
            ["verify", "--database-url", "postgresql://127.0.0.1/registrar?sslkey=a.key&sslpassword=hunter2"],
            ["verify", URL],
            ["--database-url", URL, "verify"],
            ["verify", "--database-url", URL.replace("1/", "x/")],
            ["verify", URL.replace("1/", "x/")],
            ["verify", "--database-url", "postgresql://127.0.0.1:x/registrar?user=ada&password=hunter2"],
        ],
        ids=[
            "one word",
            "parameter",
            "escaped",
            "of a key",
            "no flag",
            "before the command",
            "invalid",
            "invalid and no flag",
            "parameter of an invalid URL",
        ],
    )
    def test_in_any_form(self, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        """A password is found in each part of a URL that may have one, and not shown if the flag is misplaced."""
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        printed = capsys.readouterr().err
        assert self.REFUSED in printed
        assert "hunter2" not in printed

    @pytest.mark.parametrize("url", ["postgresql://ada@127.0.0.1:1/r?passfile=none", "postgresql://ada@127.0.0.1:x/r"])
    def test_other_urls_are_no_flag_with_a_password(self, tmp_path: Path, url: str) -> None:
        """A URL may name the file of the password. One that is invalid is refused as such."""
        printed = run(tmp_path, "verify", "--database-url", url, database_url="sqlite:///registrar.db")
        assert self.REFUSED not in printed

    def test_a_flag_overrides_a_url_with_a_password(self, sqlite_url: str, tmp_path: Path) -> None:
        """Only flags are checked."""
        printed = run(tmp_path, "verify", "--database-url", sqlite_url, status=0, database_url=URL)
        assert "agree" in printed


async def test_a_server_that_cannot_listen_does_not_show_the_password_of_the_direct_url(
    postgresql_url: str, tmp_path: Path
) -> None:
    async with server_process(postgresql_url, tmp_path, DATABASE_DIRECT_URL=URL, LOG_LEVEL="debug") as server:
        async with calling(await server.address()) as registrar, watching_live(registrar):
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
