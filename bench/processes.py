"""The processes of the bench: servers, which log their addresses, and workers, which measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from bench.measurements import Sample
from tests.support.subprocess_environment import environment_without

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 30.0


def environment() -> dict[str, str]:
    """Return an environment with default settings in which the checkout can be imported."""
    kept = environment_without("REGISTRAR_", "PG")
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, os.pathsep.join(paths).split(os.pathsep)))}


class Server:
    """A server process, ``python -m`` with these arguments, that logs its addresses as JSON to standard error.

    It runs in a folder without ``.env``, so that it has its default settings. Its log goes to a file, since reading a
    pipe would take processor time from the server.
    """

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.pid = self._process.pid
        self.address = ""
        self.http_address = ""

    def __enter__(self) -> Self:
        end = time.monotonic() + START_TIMEOUT_S
        while not self.address:
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise RuntimeError(f"The server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
            self._find_addresses()
        return self

    def _find_addresses(self) -> None:
        for line in self.log.read_text().splitlines():
            if '"server_started"' in line:
                started = json.loads(line)
                self.address, self.http_address = started["address"], started.get("http", "")

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Worker:
    """A process that calls ``run`` of one module of the bench, once per request."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", module],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def run(self, **given: Any) -> Sample:
        """Run once and return the sample."""
        return self.run_all(**given)[0]

    def run_all(self, **given: Any) -> Sequence[Sample]:
        """Run once and return the samples of all systems that the run measures."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(given), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A worker ended; its error is above.")
        found = json.loads(line)
        return [Sample(**sample) for sample in (found if isinstance(found, list) else [found])]

    def __exit__(self, *_exception: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
