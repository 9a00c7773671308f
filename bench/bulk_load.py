"""A bulk load, and single calls of other callers before it and beside it.

There is one single call at a time, with a pause between two of them, in both parts. The single calls take a little of
the server's time from the load.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import driving, messages
from bench.bulk_client import EACH
from bench.driving import Calls, Connection, Tally
from bench.measurements import Sample
from bench.messages import COURSES, ROUNDS, Pairing
from bench.meters import Meter, Usage
from bench.processes import environment

CALLERS = 5_000
"""The students of the single calls, who enroll in one course after the other."""
INTERVAL_S = 0.020
WARM_UP = 100
ALONE = 1_000
"""The number of single calls before the load."""


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    first: int
    """The number of the first student of the load."""
    students: int
    """The number of its students."""

    def singles(self) -> Iterator[bytes]:
        """Return single calls for half an hour."""
        first = self.first + self.students
        rounds = (messages.enrollments(Pairing("C-", 0, number, COURSES), first) for number in range(ROUNDS))
        return messages.serialized(itertools.chain.from_iterable(itertools.islice(each, CALLERS) for each in rounds))


def run(**given: Any) -> list[dict[str, Any]]:
    """Run once and return three samples: single calls before the load, the load, and single calls beside it."""
    run = Run(**given)
    singles, meter = run.singles(), Meter(run.server, run.database)
    with driving.connect(run.address) as connections:
        warm, _ = _drive(connections, itertools.islice(singles, WARM_UP), meter)
        alone, alone_used = _drive(connections, itertools.islice(singles, ALONE), meter)
        with _load(run) as load:
            beside, used = _drive(connections, itertools.takewhile(lambda _: load.poll() is None, singles), meter)
            if next(singles, None) is None:
                beside.failed["too few single calls were prepared"] = 1
            loaded = json.loads(load.communicate()[0])
    single = driving.sample(alone, alone_used, meter, **_checked(warm, alone))
    # The load takes nearly all that is used, so it says nothing about the single calls.
    others = driving.sample(beside, used._replace(server=None, database=None), meter, **_checked(beside))
    return [each.as_dict() for each in (single, _sample(run, loaded, len(beside.answers), used, meter), others)]


def _load(run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.bulk_client", run.address, str(run.first), str(run.students)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)


def _drive(connections: Sequence[Connection], requests: Iterator[bytes], meter: Meter) -> tuple[Tally, Usage]:
    calls = Calls(messages.ENROLL, requests, 1, INTERVAL_S)
    usage = driving.drive_all([(connections[0], calls)], meter, float("inf"))
    return calls.tally, usage


def _checked(*tallies: Tally) -> dict[str, Any]:
    answers = [answer for tally in tallies for answer in tally.answers]
    failed = sum((tally.failed for tally in tallies), messages.wrong_answers(messages.ENROLL, answers))
    return {"changes": len(answers), "failed": failed}


def _sample(run: Run, loaded: dict[str, Any], singles: int, used: Usage, meter: Meter) -> Sample:
    """Return the sample of the load: each row counts as a call, and the latencies are those of chunks."""
    rows, failed = run.students * EACH, Counter[str](loaded["refused"])
    if loaded["done"] != rows:
        failed["bulk did not load all rows"] += 1
    # Each single call of the others counts as a row, although it costs more.
    per_call = used._replace(load=loaded["cpu_seconds"]).per_call(rows + singles)
    sample = Sample.of(
        loaded["latencies"],
        loaded["seconds"],
        peak_rss_mb=meter.peak_rss_mb(),
        rss_growth_mb=loaded["growth_mb"],
        changes=loaded["done"],
        failed=failed,
        **per_call,
    )
    return replace(sample, calls_per_s=loaded["done"] / loaded["seconds"])
