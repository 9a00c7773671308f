"""The load of the usual workloads: many calls of one kind, or one at a time, for some seconds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import http1, http2, json_calls, measurements, messages
from bench.driving import Tally, connect, drive, sample
from bench.measurements import Sample
from bench.meters import Meter, Usage


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    workload: str
    round_number: int
    stored: int
    first: int
    """The number of the first student who enrolls."""
    in_flight: int
    connections: int
    warm_up: float
    seconds: float
    echoes: bool
    """The server returns the same response to every request."""
    authorization: str = ""

    @property
    def method(self) -> str:
        """The RPC of the workload."""
        return messages.LIST if self.workload in measurements.READING else messages.ENROLL

    @property
    def is_over_http(self) -> bool:
        """Whether the calls are requests of HTTP/1.1 with JSON."""
        return self.workload in measurements.OVER_HTTP

    def requests(self) -> Iterator[bytes]:
        """Return as many serialized requests as the run can need."""
        if self.method == messages.LIST:
            generated: Iterator[Any] = messages.listings(self.stored)
        else:
            pairing = messages.Pairing.of(self.workload, self.round_number)
            generated = messages.enrollments(pairing, self.first)
        count = int((self.warm_up + self.seconds) * messages.MOST_PER_SECOND)
        made = itertools.islice(generated, count)
        return json_calls.requests(self.address, made) if self.is_over_http else messages.serialized(made)


def run(**given: Any) -> dict[str, Any]:
    """Run once and return the sample."""
    run = Run(**given)
    requests, meter = run.requests(), Meter(run.server, run.database)
    kind = http1.Connection if run.is_over_http else partial(http2.Connection, authorization=run.authorization)
    with connect(run.address, run.connections, kind) as connections:
        warm, _ = drive(connections, run.method, requests, meter, run.in_flight, run.warm_up)
        hot, usage = drive(connections, run.method, requests, meter, run.in_flight, run.seconds)
    return _sample(run, warm, hot, usage, meter).as_dict()


def _sample(run: Run, warm: Tally, hot: Tally, usage: Usage, meter: Meter) -> Sample:
    answers = warm.answers + hot.answers
    failed = warm.failed + hot.failed
    if not run.echoes:
        found = json_calls.as_messages(run.method, answers) if run.is_over_http else answers
        failed += messages.wrong_answers(run.method, found)
    elif len({answer for _, answer in answers}) != 1:
        failed["wrong answer"] += 1
    changes = len(answers) if run.method == messages.ENROLL and not run.echoes else 0
    return sample(hot, usage, meter, changes=changes, failed=failed)
