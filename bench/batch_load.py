"""The load of batches: some calls of BatchWrite in flight, for some seconds. Each write counts as a call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench import batches, messages
from bench.driving import connect, drive, sample
from bench.meters import Meter

MOST_PER_SECOND = 24_000
"""More writes than any server here can answer. A run prepares this many per second."""


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    workload: str
    round_number: int
    first: int
    """The number of the first student who enrolls."""
    in_flight: int
    connections: int
    warm_up: float
    seconds: float

    def requests(self) -> Iterator[bytes]:
        """Return as many serialized requests as the run can need."""
        pairing = messages.Pairing.of(self.workload, self.round_number)
        count = int((self.warm_up + self.seconds) * MOST_PER_SECOND) // batches.WRITES * batches.WRITES
        enrollments = itertools.islice(messages.enrollments(pairing, self.first), count)
        return messages.serialized(batches.requests(enrollments))


def run(**given: Any) -> dict[str, Any]:
    """Run once and return the sample."""
    run = Run(**given)
    requests, meter = run.requests(), Meter(run.server, run.database)
    with connect(run.address, run.connections) as connections:
        warm, _ = drive(connections, messages.BATCH_WRITE, requests, meter, run.in_flight, run.warm_up)
        hot, usage = drive(connections, messages.BATCH_WRITE, requests, meter, run.in_flight, run.seconds)
    answers = warm.answers + hot.answers
    failed = warm.failed + hot.failed + batches.wrong_answers(answers)
    if next(requests, None) is None:
        failed["too few requests were prepared"] += 1
    changes = batches.WRITES * len(answers)
    return sample(hot, usage, meter, batches.WRITES, changes=changes, failed=failed).as_dict()
