"""A shell that stays open, so that its functions, variables and background jobs outlive a block of commands.

with Terminal(tmp_path, environment) as terminal:
    terminal.run("registrar-server serve 2> server.log &")
    assert terminal.output("jobs") == ...
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

END = "-- end of the block, status"
"""What the shell prints after each block, with the status of its last command."""
SUCCEEDING = f"""
curl() {{ command curl --fail-with-body "$@"; }}
trap 'echo "{END} $?"' EXIT
set -e
"""
"""Ends the shell at the first command of a block that fails; curl alone succeeds whatever the answer is."""
ANYHOW = """
curl() { command curl --silent "$@"; }
set +e
"""
"""Lets commands fail; curl shows no progress, as on a real terminal."""


class Terminal:
    """Runs blocks of commands in one shell."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["sh"],
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        """Return the open terminal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the shell with everything that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()

    def run(self, block: str) -> str:
        """Run commands, all of which must succeed, and return what they print."""
        output, status = self._run(SUCCEEDING + block)
        assert status == 0, block + output
        return output

    def output(self, command: str) -> str:
        """Run a command, which may fail, and return what it prints."""
        return self._run(ANYHOW + command)[0]

    def _run(self, text: str) -> tuple[str, int]:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f'{text}\necho "{END} $?"\n')
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            before, end, status = line.partition(END)
            lines.append(before)
            if end:
                return "".join(lines), int(status)
        raise AssertionError("The shell has ended: " + "".join(lines))
