"""Batches with watchers beside them and without, in turns: how many writes a second, and how late the events arrive."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from bench import batches, driving, messages
from bench.driving import Connection, Tally
from bench.followers import Followers
from bench.measurements import Sample
from bench.meters import Meter, Usage

WATCHERS = 10
MOST_PER_SECOND = 24_000
"""More writes than any server here can answer. A run prepares this many per second."""
TURNS = (False, True, True, False)
"""Whether somebody watches, in the order of a run. So neither case has the larger tables."""


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    workload: str
    beside: str
    """The workload with watchers, whose students enroll in other courses."""
    round_number: int
    first: int
    """The number of the first student who enrolls."""
    in_flight: int
    warm_up: float
    seconds: float
    """The seconds of all turns with watchers, and of all without."""

    @property
    def turn(self) -> float:
        """The seconds of one turn."""
        return 2 * self.seconds / len(TURNS)

    def requests(self, *, watched: bool) -> Iterator[bytes]:
        """Return as many serialized requests as the run can need."""
        pairing = messages.Pairing.of(self.beside if watched else self.workload, self.round_number)
        count = int((self.warm_up + self.seconds) * MOST_PER_SECOND) // batches.WRITES * batches.WRITES
        return messages.serialized(batches.requests(itertools.islice(messages.enrollments(pairing, self.first), count)))


@dataclass
class Turns:
    """The turns of one case, with watchers or without."""

    requests: Iterator[bytes]
    tally: Tally = field(default_factory=Tally)
    used: list[Usage] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    """The seconds from the time of each event to its arrival at each watcher."""
    failed: Counter[str] = field(default_factory=Counter)

    def take(self, run: Run, connections: Sequence[Connection], meter: Meter, *, watched: bool) -> None:
        """Send batches for some seconds."""
        with Followers(run.address, WATCHERS) if watched else nullcontext() as followers:
            tally, usage = driving.drive(
                connections, messages.BATCH_WRITE, self.requests, meter, run.in_flight, run.turn
            )
            if followers:
                lags, failed = followers.end(batches.last_revision(tally.answers))
                self.lags += lags
                self.failed.update(failed)
        self.tally.add(tally)
        self.used.append(usage)

    def sample(self, meter: Meter, warm: Tally) -> Sample:
        """Return the sample, with the changes of the warm-up."""
        answers = warm.answers + self.tally.answers
        failed = warm.failed + self.tally.failed + self.failed + batches.wrong_answers(answers)
        if next(self.requests, None) is None:
            failed["too few requests were prepared"] += 1
        changes = batches.WRITES * len(answers)
        return driving.sample(self.tally, Usage.total(self.used), meter, batches.WRITES, changes=changes, failed=failed)

    def arrivals(self) -> Sample:
        """Return the sample of the events that arrived at the watchers."""
        expected = WATCHERS * batches.WRITES * len(self.tally.answers)
        failed = {"wrong number of events": 1} if len(self.lags) != expected else {}
        return Sample.of(self.lags, Usage.total(self.used).seconds, failed=failed)


def run(**given: Any) -> list[dict[str, Any]]:
    """Run once and return the samples of batches without watchers, of those with them, and of the events."""
    run = Run(**given)
    meter = Meter(run.server, run.database)
    alone, beside = (Turns(run.requests(watched=watched)) for watched in (False, True))
    with driving.connect(run.address) as connections:
        warm, _ = driving.drive(connections, messages.BATCH_WRITE, alone.requests, meter, run.in_flight, run.warm_up)
        for watched in TURNS:
            (beside if watched else alone).take(run, connections, meter, watched=watched)
    samples = (alone.sample(meter, warm), beside.sample(meter, Tally()), beside.arrivals())
    return [sample.as_dict() for sample in samples]
