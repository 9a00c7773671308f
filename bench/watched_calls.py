"""One call after the other, with pauses: how long it takes until the event reaches watchers at two servers.

The caller and the watchers are one process with one clock. All times begin when the call is sent, since an event may
arrive before the answer of its call.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from bench import driving, measurements, messages
from bench.driving import Connection
from bench.measurements import Sample
from bench.meters import Meter
from bench.streams import Watchers

INTERVAL_S = 0.050
WARM_UP = 20
"""So many calls come before those that count."""
TIMEOUT_S = 10.0


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    other: str
    """The address of another server on the same database."""
    round_number: int
    first: int
    """The number of the first student who enrolls."""
    calls: int


class Caller:
    """Sends one call after the other, and waits for the answer and for the event at every watcher."""

    def __init__(self, connection: Connection, watchers: Watchers) -> None:
        self._connection = connection
        self._watchers = watchers
        self._answers: list[bytes] = []
        self._before = [0 for _ in watchers.streams]
        self.answers: list[tuple[bytes, bytes]] = []
        self.latencies: list[list[float]] = [[] for _ in measurements.WATCH_IDLE]
        """The seconds until the answer, and until the event at each watcher."""
        self.failed: Counter[str] = Counter()
        watchers.add(connection, self._receive)

    def _receive(self) -> None:
        answers = self._connection.receive()
        self._connection.send()
        self._answers += [answer.message for answer in answers if not answer.failure]
        self.failed.update(answer.failure for answer in answers if answer.failure)

    def call(self, request: bytes) -> None:
        """Make a call and wait for all that it brings, then for the next call's turn."""
        begun = time.perf_counter()
        found: list[float | None] = [None for _ in self.latencies]
        self._answers.clear()
        self._connection.begin(messages.ENROLL, request)
        self._connection.send()

        def is_over() -> bool:
            arrived = (bool(self._answers), *self._events())
            for place, is_there in enumerate(arrived):
                if is_there and found[place] is None:
                    found[place] = time.perf_counter() - begun
            return None not in found or bool(self.failed)

        if not self._watchers.wait(is_over, TIMEOUT_S):
            self.failed["no answer or no event"] += 1
        self._before = [len(stream.revisions) for stream in self._watchers.streams]
        self.answers += [(request, answer) for answer in self._answers]
        for latencies, seconds in zip(self.latencies, found, strict=True):
            latencies += [] if seconds is None else [seconds]
        self._watchers.wait(lambda: False, begun + INTERVAL_S - time.perf_counter())

    def _events(self) -> list[bool]:
        """Return whether each watcher has got another event."""
        streams = self._watchers.streams
        return [len(stream.parse().revisions) > seen for stream, seen in zip(streams, self._before, strict=True)]


def run(**given: Any) -> list[dict[str, Any]]:
    """Run once and return the samples of the calls, of the watcher at the same server and of that at another one."""
    run = Run(**given)
    meter = Meter(run.server, run.database)
    pairing = messages.Pairing.of(measurements.WATCH_WRITE, run.round_number)
    enrollments = itertools.islice(messages.enrollments(pairing, run.first), WARM_UP + run.calls)
    requests = list(messages.serialized(enrollments))
    with driving.connect(run.address) as [connection], Watchers([run.address, run.other]) as watchers:
        caught_up = watchers.catch_up(TIMEOUT_S)
        caller = Caller(connection, watchers)
        for request in requests[:WARM_UP]:
            caller.call(request)
        caller.latencies = [[] for _ in caller.latencies]
        meter.begin()
        for request in requests[WARM_UP:]:
            caller.call(request)
        used = meter.end()
        start = watchers.streams[0].parse().start
        failed = caller.failed + watchers.wrong_until(start + len(requests))
    failed += messages.wrong_answers(messages.ENROLL, caller.answers)
    if not caught_up:
        failed["a watcher got no checkpoint"] += 1
    samples = [Sample.of(latencies, used.seconds, **used.per_call(run.calls)) for latencies in caller.latencies]
    return [
        samples[0].with_changes(len(caller.answers), failed).as_dict(),
        *(sample.as_dict() for sample in samples[1:]),
    ]
