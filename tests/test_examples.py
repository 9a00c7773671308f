"""The examples in README.md and docs/usage.md run as written, one after another, on a server with an empty database.

Only the address differs. Python examples run as programs, and examples for a shell run in one. Where grpcurl is not
installed, a small program stands in for it. A comment behind or below a ``print`` is what it prints, and a block that
starts with ``$`` shows a command and its output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from registrar_client import testing
from tests.support import grpcurl

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^\w+\(\) \{.*$", re.MULTILINE)
ADDRESSES = ("localhost:50051", "127.0.0.1:50051")
CONSTANT = re.compile(r"\b[A-Z][A-Z_]{3,}\b")


class Example(NamedTuple):
    """A block of code: its language, and its text with the address of the server."""

    language: str
    text: str


def examples(text: str, address: str) -> Iterator[Example]:
    for language, block in BLOCK.findall(text):
        for each in ADDRESSES:
            block = block.replace(each, address)
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


def run_python(program: str) -> None:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    output = " ".join(run.stdout.split())
    for expected in printed(program):
        assert " ".join(expected.split()) in output


class Shell:
    """Runs examples for a shell. Functions stay defined."""

    def __init__(self, folder: Path) -> None:
        grpcurl.install(folder)
        self._path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self._functions: list[str] = []

    def run(self, script: str, *, succeeds: bool = True) -> str:
        self._functions += FUNCTION.findall(script)
        whole = "\n".join(["set -e" if succeeds else "", *self._functions, script])
        environment = {**os.environ, "PATH": self._path, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(["sh", "-c", whole], capture_output=True, text=True, check=False, env=environment)
        assert (run.returncode == 0) is succeeds, run.stdout + run.stderr
        return run.stdout + run.stderr

    def check(self, example: Example) -> None:
        if example.language == "sh" and ("grpcurl" in example.text or example.text.startswith("call ")):
            output = self.run(example.text)
            for comment in re.findall(r"'\s+# (.*)", example.text):
                assert all(constant in output for constant in CONSTANT.findall(comment))
        elif example.text.startswith("$ "):
            command, _, shown = example.text[2:].partition("\nERROR:\n")
            output = self.run(command, succeeds=False)
            assert "  Message: " in shown
            assert all(line in output.splitlines() for line in shown.splitlines()[:2])


def run_examples(document: str, database_url: str, folder: Path) -> None:
    shell = Shell(folder)
    with testing.server(database_url=database_url) as address:
        for example in examples((ROOT / document).read_text(), address):
            if example.language == "python":
                run_python(example.text)
            else:
                shell.check(example)


def test_the_examples_of_the_readme_work_as_written(database_url: str, tmp_path: Path) -> None:
    run_examples("README.md", database_url, tmp_path)


def test_the_examples_of_the_usage_work_as_written(sqlite_url: str, tmp_path: Path) -> None:
    run_examples("docs/usage.md", sqlite_url, tmp_path)


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
