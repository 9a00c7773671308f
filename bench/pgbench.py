"""The baseline of PostgreSQL itself: pgbench with ``enroll.sql``, one transaction per enrollment."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import make_url

from bench.measurements import Sample
from bench.messages import Pairing
from tests.support.subprocess_environment import environment_without

SCRIPT = Path(__file__).with_name("enroll.sql")
CLIENTS = 64


def find(binaries: Path) -> Path | None:
    """Return the pgbench beside the server's binaries, or else the one on the path."""
    beside = binaries / "pgbench"
    if beside.is_file():
        return beside
    found = shutil.which("pgbench")
    return Path(found) if found else None


def run(
    pgbench: Path, url: str, pairing: Pairing, *, first: int, response_size: int, warm_up: float, seconds: float
) -> Sample:
    """Run once, after a warm-up with other students, and return the sample."""
    variables = {**pairing._asdict(), "clients": CLIENTS, "response_size": response_size, "counter": -1}
    warm = _run(pgbench, url, {**variables, "first": first}, warm_up)
    # Start beyond the students that the warm-up can have reached.
    hot = _run(pgbench, url, {**variables, "first": first + 10_000}, seconds)
    return Sample.of(hot.latencies, hot.seconds, changes=warm.done + hot.done, failed=warm.failed + hot.failed)


class _Outcome(NamedTuple):
    latencies: list[float]
    seconds: float
    failed: Counter[str]

    @property
    def done(self) -> int:
        return len(self.latencies)


def _run(pgbench: Path, url: str, variables: Mapping[str, object], seconds: float) -> _Outcome:
    parsed = make_url(url)
    given = {**variables, "run": uuid.uuid4().hex}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(pgbench, "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", "--jobs=2"),
                # pgbench accepts only whole seconds.
                *(f"--time={max(1, round(seconds))}", "--log", f"--log-prefix={folder}/log", f"--file={SCRIPT}"),
                *(f"--define={name}={value}" for name, value in given.items()),
                *("--host=127.0.0.1", f"--port={parsed.port}", f"--username={parsed.username}", str(parsed.database)),
            ],
            env={**environment_without("PG"), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        latencies = list(_latencies(Path(folder)))
    return _outcome(done, latencies)


def _latencies(folder: Path) -> Iterator[float]:
    """Yield latencies in seconds; the third column of the logs has them in microseconds."""
    for log in folder.glob("log.*"):
        for line in log.read_text().splitlines():
            yield int(line.split()[2]) / 1e6


def _outcome(done: subprocess.CompletedProcess[str], latencies: list[float]) -> _Outcome:
    """Compute the seconds from the rate of pgbench, which excludes the time to connect."""
    rate = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    processed = re.search(r"actually processed: (\d+)", done.stdout)
    if done.returncode or not rate or not processed or int(processed[1]) != len(latencies):
        message = done.stderr.strip()[-300:] or "its log and its summary differ"
        return _Outcome(latencies, 1.0, Counter({f"pgbench: {message}": 1}))
    return _Outcome(latencies, len(latencies) / float(rate[1]), Counter())
