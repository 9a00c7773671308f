"""Reads beside writes: how long a health check and a lookup take while many students enroll.

There is one read of each kind at a time, and a pause between two of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench import driving, measurements, messages
from bench.driving import Calls, Tally
from bench.meters import Meter

INTERVAL_S = 0.010


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    round_number: int
    stored: int
    first: int
    """The number of the first student who enrolls."""
    in_flight: int
    warm_up: float
    seconds: float

    def calls(self) -> list[Calls]:
        """Return the calls of each workload, in the order of ``measurements.BESIDE``."""
        pairing = messages.Pairing.of(measurements.BESIDE_WRITES, self.round_number)
        enrollments = messages.enrollments(pairing, self.first)
        count = int((self.warm_up + self.seconds) * messages.MOST_PER_SECOND)
        reads = list(messages.serialized(itertools.islice(messages.students(self.stored), messages.STORED)))
        return [
            Calls(messages.CHECK, itertools.repeat(b""), 1, INTERVAL_S),
            Calls(messages.GET_STUDENT, itertools.cycle(reads), 1, INTERVAL_S),
            Calls(messages.ENROLL, messages.serialized(itertools.islice(enrollments, count)), self.in_flight),
        ]


def run(**given: Any) -> list[dict[str, Any]]:
    """Run once and return the samples of the workloads. The figures of processor time are those of all calls."""
    run = Run(**given)
    calls, meter = run.calls(), Meter(run.server, run.database)
    # Each has a connection of its own, as other callers have.
    with driving.connect(run.address, len(calls)) as connections:
        driving.drive_all(list(zip(connections, calls, strict=True)), meter, run.warm_up)
        hot = [replace(each, tally=Tally()) for each in calls]
        usage = driving.drive_all(list(zip(connections, hot, strict=True)), meter, run.seconds)
    per_call = usage.per_call(sum(len(each.tally.latencies) for each in hot))
    return [
        driving.sample(measured.tally, usage, meter, **per_call, **_outcome(warm, measured)).as_dict()
        for warm, measured in zip(calls, hot, strict=True)
    ]


def _outcome(warm: Calls, hot: Calls) -> Mapping[str, Any]:
    answers = warm.tally.answers + hot.tally.answers
    wrong = messages.wrong_answers(hot.method, answers)
    return {
        "changes": len(answers) if hot.method == messages.ENROLL else 0,
        "failed": warm.tally.failed + hot.tally.failed + wrong,
    }
