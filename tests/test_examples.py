"""The examples in README.md and in the usage, HTTP and identity documents run as written, each on an empty database.

Only the addresses differ. Python examples run as programs, and examples for a shell run in one, all in the same folder.
Small programs stand in for curl, and for grpcurl where it is not installed. A comment behind or below a ``print`` is
what it prints. Names in capitals in a comment behind a call are in its answer. A block that starts with ``$`` shows
commands with their output, in which an ellipsis stands for any text.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from registrar_server.first_calls import try_next
from tests.support import curl, grpcurl
from tests.support.csv_terms import write_term
from tests.support.postgres import free_port
from tests.support.servers import FREE_PORT, SERVE, environment, serving
from tests.support.subprocess_environment import environment_without
from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^\w+\(\) \{.*$", re.MULTILINE)
CALL = re.compile(r"^(?=(?:call|grpcurl|curl) )", re.MULTILINE)
REMARK = re.compile(r"['\"\w]\s+# (.*)")
COMMAND = re.compile(r"^\$ ", re.MULTILINE)
FAILING = """set -e
curl() { command curl --fail-with-body "$@"; }
"""
"""Lets a script end with a failure at the first call that is refused; curl alone succeeds whatever the answer is."""
CONSTANT = re.compile(r"\b[A-Z][A-Z_]{3,}\b|\b[A-Z]+-\d+\b")


class Example(NamedTuple):
    """A block of code: its language, and its text with the addresses of the server."""

    language: str
    text: str


def examples(text: str, addresses: Mapping[str, str]) -> Iterator[Example]:
    for language, block in BLOCK.findall(text):
        for documented, actual in addresses.items():
            block = block.replace(documented, actual)
        yield Example(language, block)


def printed(program: str) -> list[str]:
    """Return the comments behind and below calls of ``print``. Lines of one comment belong together."""
    found: list[str] = []
    below = False
    for line in map(str.strip, program.splitlines()):
        if line.startswith("print("):
            _, hash_sign, comment = line.partition("  # ")
            found += [comment] if hash_sign else []
            below = not hash_sign
            found += [""] if below else []
        elif below and line.startswith("# "):
            found[-1] = f"{found[-1]} {line[2:]}".strip()
        else:
            below = False
    return [each for each in found if each]


def run_python(program: str, folder: Path) -> None:
    run = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    output = " ".join(run.stdout.split())
    for expected in printed(program):
        assert " ".join(expected.split()) in output


class Shell:
    """Runs examples for a shell. Functions stay defined."""

    def __init__(self, folder: Path, *, real_curl: bool = False) -> None:
        grpcurl.install(folder)
        if not real_curl:
            curl.install(folder)
        self.folder = folder
        self._path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self._functions: list[str] = []

    def run(self, script: str, *, before: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script with the functions of earlier ones."""
        self._functions += FUNCTION.findall(script)
        whole = "\n".join([before, *self._functions, script])
        variables = {**os.environ, "PATH": self._path, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(["sh", "-c", whole], capture_output=True, text=True, check=False, env=variables)

    def check(self, example: Example) -> None:
        if example.language == "sh" and CALL.search(example.text):
            self.check_calls(example.text)
        elif example.text.startswith("$ curl"):
            for command in filter(None, COMMAND.split(example.text)):
                self.check_output(command)
        elif example.text.startswith("$ "):
            self.check_error(example.text.removeprefix("$ "))

    def check_calls(self, script: str) -> None:
        """Run calls one by one. All of them succeed."""
        definitions, *calls = CALL.split(script)
        assert not self.run(definitions).stderr
        for call in calls:
            run = self.run(call, before=FAILING)
            assert run.returncode == 0, call + run.stdout + run.stderr
            for remark in REMARK.findall(call):
                assert all(constant in run.stdout for constant in CONSTANT.findall(remark)), call + run.stdout

    def check_output(self, text: str) -> None:
        """Run a call of curl and compare the whole output."""
        command, rest = re.split(r"(?<!\\)\n", text, maxsplit=1)
        output = self.run(command).stdout
        assert matches(rest.rstrip("\n"), output.rstrip("\n")), f"{command}\n{output}"

    def check_error(self, text: str) -> None:
        """Run a call of grpcurl that fails, and compare the status and the message."""
        command, _, shown = text.partition("\nERROR:\n")
        run = self.run(command)
        assert run.returncode != 0, run.stdout
        assert "  Message: " in shown
        assert all(line in (run.stdout + run.stderr).splitlines() for line in shown.splitlines()[:2])


def matches(shown: str, output: str) -> bool:
    """Return whether an output is as it is shown; an ellipsis stands for any text, alone in a line for any lines."""
    pattern = re.escape(shown).replace("…\\\n", "(?:.*\n)*?").replace("…", ".*")
    return bool(re.fullmatch(pattern, output.replace("\r\n", "\n")))


async def run_examples(document: str, database_url: str, shell: Shell) -> None:
    async with serving(database_url, http_listen=FREE_PORT) as server:
        addresses = {
            "localhost:50051": server.address,
            "127.0.0.1:50051": server.address,
            "127.0.0.1:8080": server.http_address,
        }
        for example in examples((ROOT / document).read_text(), addresses):
            if example.language == "python":
                await asyncio.to_thread(run_python, example.text, shell.folder)
            else:
                await asyncio.to_thread(shell.check, example)


async def test_the_examples_of_the_readme_work_as_written(database_url: str, tmp_path: Path) -> None:
    write_term(tmp_path)
    await run_examples("README.md", database_url, Shell(tmp_path))
    assert (tmp_path / "refused.csv").read_text().splitlines() == [
        '4,COURSE_FULL,"The only seat is taken in ""ALG-1""."',
        '5,COURSE_NOT_FOUND,"There is no course ""ALG-2""."',
    ]


async def test_the_examples_of_the_usage_work_as_written(sqlite_url: str, tmp_path: Path) -> None:
    await run_examples("docs/usage.md", sqlite_url, Shell(tmp_path))


async def test_the_examples_of_http_work_as_written(database_url: str, tmp_path: Path) -> None:
    await run_examples("docs/http.md", database_url, Shell(tmp_path))


@pytest.mark.skipif(not curl.is_installed(), reason="The machine has no curl of version 7.82 or newer.")
@pytest.mark.parametrize("document", ["README.md", "docs/http.md"])
async def test_the_examples_work_with_curl_itself(document: str, sqlite_url: str, tmp_path: Path) -> None:
    write_term(tmp_path)
    await run_examples(document, sqlite_url, Shell(tmp_path, real_curl=True))


def has_openssl() -> bool:
    """Return whether the machine has OpenSSL 3 or newer, whose ``req`` signs with an authority."""
    if not shutil.which("openssl"):
        return False
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
    return re.match(r"OpenSSL ([3-9]|\d\d)\.", version) is not None


@pytest.mark.skipif(not has_openssl(), reason="The machine has no OpenSSL of version 3 or newer.")
@pytest.mark.parametrize(
    "real_curl",
    [
        pytest.param(False, id="stand-in"),
        pytest.param(True, id="curl", marks=pytest.mark.skipif(not curl.is_installed(), reason="no curl of 7.82")),
    ],
)
def test_the_page_about_callers_works_as_written_in_an_empty_folder(real_curl: bool, tmp_path: Path) -> None:
    """Its blocks run in order in one shell, which starts the servers itself; only their ports differ."""
    commands, folder = tmp_path / "commands", tmp_path / "empty"
    install_commands(commands, real_curl=real_curl)
    folder.mkdir()
    ports = {f":{port}": f":{free_port()}" for port in (50051, 50052, 8080)}
    shown = list(examples((ROOT / "docs" / "identity.md").read_text(), ports))
    variables = environment_without("REGISTRAR_") | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with Terminal(folder, {**variables, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}) as terminal:
        for example in shown:
            if example.language == "python":
                run_python(example.text, folder)
            elif example.language == "sh":
                terminal.run(example.text)
            elif example.text.startswith("$ "):
                check_until_it_fits(terminal, example.text.removeprefix("$ "))
    lines = "".join((folder / name).read_text() for name in ("server.log", "second.log"))
    logged = [line for example in shown if example.language == "json" for line in example.text.splitlines()]
    assert logged
    assert [line for line in logged if not any(matches(line, other) for other in lines.splitlines())] == [], lines


def install_commands(folder: Path, *, real_curl: bool) -> None:
    """Write the commands that the page needs to a folder: the server, its Python, and the stand-ins."""
    folder.mkdir()
    for name, arguments in (("registrar-server", "-W error -m registrar_server"), ("python3", "")):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        command.chmod(0o755)
    grpcurl.install(folder)
    if not real_curl:
        curl.install(folder)


def check_until_it_fits(terminal: Terminal, text: str, seconds: float = 20.0) -> None:
    """Run a command until its output is as it is shown: a server may still be reading its files again."""
    command, shown = re.split(r"(?<!\\)\n", text, maxsplit=1)
    due = time.monotonic() + seconds
    while not matches(shown.rstrip("\n"), output := terminal.output(command).rstrip("\n")):
        assert time.monotonic() < due, f"{command}\n{output}"


async def test_the_calls_that_a_server_suggests_work_as_written(sqlite_url: str, tmp_path: Path) -> None:
    """A server that people start prints calls for gRPC, HTTP and Python, which succeed one after another."""
    variables = environment(sqlite_url, HTTP_LISTEN=FREE_PORT, LOG_FORMAT="console")
    process = await asyncio.create_subprocess_exec(
        *SERVE, cwd=tmp_path, env=variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout
        printed = (await process.stdout.readuntil(b"print(list(")).decode() + (await process.stdout.readline()).decode()
        _, over_grpc, over_http, python = re.split(r"another shell:|or over HTTP:|or in Python:", printed)
        shell = Shell(tmp_path)
        await asyncio.to_thread(shell.check_calls, textwrap.dedent(over_grpc))
        run = await asyncio.to_thread(shell.run, over_http)
        assert '"title":"Intro"' in run.stdout
        await asyncio.to_thread(run_python, textwrap.dedent(python), tmp_path)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("http_address", "named", "called"),
    [
        ("", "Registrar is serving gRPC on 127.0.0.1:1. Try", None),
        ("127.0.0.1:2", "gRPC on 127.0.0.1:1 and HTTP on 127.0.0.1:2. Try", "curl http://127.0.0.1:2/students/"),
        ("0.0.0.0:2", "gRPC on 127.0.0.1:1 and HTTP on 0.0.0.0:2. Try", "curl http://127.0.0.1:2/students/"),
        ("[::]:2", "gRPC on 127.0.0.1:1 and HTTP on [::]:2. Try", "curl http://[::1]:2/students/"),
    ],
    ids=["off", "loopback", "every address", "every address of IPv6"],
)
def test_a_server_suggests_a_call_over_http_if_it_serves_http(
    http_address: str, named: str, called: str | None
) -> None:
    text = try_next("127.0.0.1:1", http_address)
    assert named in text
    assert called in text if called else "curl http" not in text


def test_the_comments_of_a_print_are_found() -> None:
    program = """
print(1)  # 1
for _ in range(2):
    print(2)
    # 2 and
    # 3
x = 4  # not printed
# not printed
print("no comment")
"""
    assert printed(program) == ["1", "2 and 3"]


def test_the_readme_shows_an_update_mask_meetings_and_an_error() -> None:
    text = (ROOT / "README.md").read_text()
    shell = [block for language, block in BLOCK.findall(text) if language == "sh"]
    assert any('"update_mask"' in block for block in shell)
    assert any('"meetings"' in block for block in shell)
    assert any(block.startswith("$ ") and "ERROR:" in block for _, block in BLOCK.findall(text))


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        ('{"code":5,"message":"…"}', '{"code":5,"message":"No."}', True),
        ('{"code":5,"message":"…"}', '{"code":3,"message":"No."}', False),
        ("HTTP/1.1 200 OK\n…\netag: x\n…\n\n{}", "HTTP/1.1 200 OK\r\ndate: y\r\netag: x\r\n\r\n{}", True),
        ("HTTP/1.1 200 OK\n…\netag: x\n…\n\n{}", "HTTP/1.1 200 OK\r\ndate: y\r\n\r\n{}", False),
        ("a.c", "abc", False),
    ],
)
def test_an_ellipsis_in_an_output_stands_for_any_text(shown: str, output: str, same: bool) -> None:
    assert matches(shown, output) is same


def test_the_readme_shows_the_three_calls_over_http_and_a_refusal() -> None:
    text = (ROOT / "README.md").read_text()
    for path in ("/students/s-4/enroll", "/students/s-4/courses", "/students/s-4/unenroll?course_id=CS-104"):
        assert path in text
    assert "HTTP/1.1 404 Not Found" in text
