"""The baseline of PostgreSQL itself: pgbench with ``enroll.sql``, one transaction per enrollment."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import make_url

from bench.measurements import Sample
from bench.messages import Pairing
from bench.meters import Meter, Usage
from tests.support.subprocess_environment import environment_without

SCRIPT = Path(__file__).with_name("enroll.sql")
CLIENTS = (4, 8, 16, 64)
"""The numbers of clients to try. The best one depends on the machine: many clients wait for each other's locks."""
APART = 10_000
"""The distance between the first students of two runs; no run can reach so many."""


def find(binaries: Path) -> Path | None:
    """Return the pgbench beside the server's binaries, or else the one on the path."""
    beside = binaries / "pgbench"
    if beside.is_file():
        return beside
    found = shutil.which("pgbench")
    return Path(found) if found else None


@dataclass(frozen=True)
class Pgbench:
    """pgbench on one database of a server.

    Args:
        program: the path of pgbench.
        url: the database.
        server: the id of the database server's first process.
        first: the number of the first student.
        response_size: the bytes of a response to store.
    """

    program: Path
    url: str
    server: int
    first: int
    response_size: int

    def try_clients(self, pairing: Pairing, seconds: float) -> dict[int, Sample]:
        """Run once with each number of clients, after a warm-up, and return the samples by this number."""
        warm = self._run(pairing, CLIENTS[0], self.first, 1)
        tried = {
            clients: self._sample(self._run(pairing, clients, self.first + place * APART, seconds), clients)
            for place, clients in enumerate(CLIENTS, start=1)
        }
        return {**tried, CLIENTS[0]: tried[CLIENTS[0]].with_changes(warm.done, warm.failed)}

    def run(self, pairing: Pairing, clients: int, warm_up: float, seconds: float) -> Sample:
        """Run once, after a warm-up with other students, and return the sample."""
        warm = self._run(pairing, clients, self.first, warm_up)
        hot = self._run(pairing, clients, self.first + APART, seconds)
        return self._sample(hot, clients).with_changes(warm.done, warm.failed)

    def _sample(self, outcome: _Outcome, clients: int) -> Sample:
        return Sample.of(
            outcome.latencies,
            outcome.seconds,
            changes=outcome.done,
            failed=outcome.failed,
            clients=clients,
            **outcome.usage.per_call(outcome.done),
        )

    def _run(self, pairing: Pairing, clients: int, first: int, seconds: float) -> _Outcome:
        parsed = make_url(self.url)
        variables = {**pairing._asdict(), "clients": clients, "first": first, "response_size": self.response_size}
        given = {**variables, "counter": -1, "run": uuid.uuid4().hex}
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(str(self.program), "--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2"),
                # pgbench accepts only whole seconds.
                *(f"--time={max(1, round(seconds))}", "--log", f"--log-prefix={folder}/log", f"--file={SCRIPT}"),
                *(f"--define={name}={value}" for name, value in given.items()),
                *("--host=127.0.0.1", f"--port={parsed.port}", f"--username={parsed.username}", str(parsed.database)),
            ]
            done, usage = self._execute(command)
            return _outcome(done, usage, list(_latencies(Path(folder))))

    def _execute(self, command: list[str]) -> tuple[subprocess.CompletedProcess[str], Usage]:
        meter, before = Meter(database=self.server), resource.getrusage(resource.RUSAGE_CHILDREN)
        meter.begin()
        environment = {**environment_without("PG"), "LC_ALL": "C"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        usage, after = meter.end(), resource.getrusage(resource.RUSAGE_CHILDREN)
        # The load is pgbench, not this process.
        load = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done, usage._replace(load=load)


class _Outcome(NamedTuple):
    latencies: list[float]
    seconds: float
    usage: Usage
    failed: Counter[str]

    @property
    def done(self) -> int:
        return len(self.latencies)


def _latencies(folder: Path) -> Iterator[float]:
    """Yield latencies in seconds; the third column of the logs has them in microseconds."""
    for log in folder.glob("log.*"):
        for line in log.read_text().splitlines():
            yield int(line.split()[2]) / 1e6


def _outcome(done: subprocess.CompletedProcess[str], usage: Usage, latencies: list[float]) -> _Outcome:
    """Compute the seconds from the rate of pgbench, which excludes the time to connect."""
    rate = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    processed = re.search(r"actually processed: (\d+)", done.stdout)
    if done.returncode or not rate or not processed or int(processed[1]) != len(latencies):
        message = done.stderr.strip()[-300:] or "its log and its summary differ"
        return _Outcome(latencies, 1.0, usage, Counter({f"pgbench: {message}": 1}))
    return _Outcome(latencies, len(latencies) / float(rate[1]), usage, Counter())
