"""A process of watchers beside a load: ``python -m bench.followers``.

It gets an address and the number of watchers as JSON, says when all have caught up, and gets the revision that they
should reach at last. It returns how long the events took, and what was wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from bench.processes import environment
from bench.streams import Watchers

TIMEOUT_S = 60.0


class Followers:
    """The process, inside a ``with`` block, in which its watchers watch all events from now on."""

    def __init__(self, address: str, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.followers"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell({"address": address, "count": count})
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()

    def _tell(self, what: Any) -> None:
        assert self._process.stdin
        print(json.dumps(what), file=self._process.stdin, flush=True)

    def _listen(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The watchers ended; their error is above.")
        return json.loads(line)

    def end(self, revision: int) -> tuple[Sequence[float], dict[str, int]]:
        """Return the seconds that each event took to each watcher, and what failed, when all reached a revision."""
        self._tell(revision)
        found = self._listen()
        return found["lags"], found["failed"]


def main() -> None:
    """Watch until a revision comes from standard input."""
    given = json.loads(sys.stdin.readline())
    with Watchers([given["address"]] * given["count"]) as watchers:
        watchers.catch_up(TIMEOUT_S)
        told: list[int] = []
        watchers.add(sys.stdin.fileno(), lambda: told.append(json.loads(sys.stdin.readline())))
        print(json.dumps("ready"), flush=True)
        while not told:
            watchers.pump()
        [revision] = told
        watchers.reach(revision, TIMEOUT_S)
        print(json.dumps({"lags": list(watchers.lags()), "failed": watchers.wrong_until(revision)}), flush=True)


if __name__ == "__main__":
    main()
