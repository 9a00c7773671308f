"""Runs the ``registrar-server`` command as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.support.servers import environment


class Shell:
    """Runs ``registrar-server`` in a folder, on one database."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        self._database_url = database_url

    def run(self, *arguments: str, stdout: IO[str] | int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for its exit."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "registrar_server", *arguments],
            cwd=self._folder,
            env=environment(self._database_url),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
