"""The load generator: keeps many calls in flight over one channel, sends and receives bytes, and checks them later."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
import uvloop

from bench import measurements, messages
from bench.measurements import Sample
from bench.processes import cpu_seconds, peak_rss_mb

CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    pid: int
    workload: str
    round_number: int
    stored: int
    in_flight: int
    warm_up: float
    seconds: float
    echoes: bool
    """The server returns the same response to every request."""

    @property
    def method(self) -> str:
        """The RPC of the workload."""
        return messages.LIST if self.workload == measurements.READS else messages.ENROLL

    def requests(self) -> list[bytes]:
        """Return as many serialized requests as the run can need."""
        if self.method == messages.LIST:
            generated: Iterator[Any] = messages.listings(self.stored)
        else:
            pairing = messages.Pairing.of(self.workload, self.round_number)
            generated = messages.enrollments(pairing, messages.first_caller(self.stored))
        count = int((self.warm_up + self.seconds) * messages.MOST_PER_SECOND)
        return [request.SerializeToString() for request in itertools.islice(generated, count)]


@dataclass
class Tally:
    """The results of the calls."""

    latencies: list[float] = field(default_factory=list)
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def sample(self, server: psutil.Process, **others: Any) -> Sample:
        """Return the sample of these calls; ``others`` are further fields of the sample."""
        cpu = self.cpu_seconds / max(1, len(self.latencies)) * 1e6
        return Sample.of(
            self.latencies, self.seconds, server_cpu_us_per_call=cpu, peak_rss_mb=peak_rss_mb(server), **others
        )


def run(**given: Any) -> dict[str, Any]:
    """Run once and return the sample."""
    return uvloop.run(_run(Run(**given))).as_dict()


async def _run(run: Run) -> Sample:
    requests = iter(run.requests())
    server = psutil.Process(run.pid)
    async with connect(run.address) as channel:
        call: Any = channel.unary_unary(run.method)
        warm = await drive(call, requests, server, run.in_flight, run.warm_up)
        hot = await drive(call, requests, server, run.in_flight, run.seconds)
    return _sample(run, warm, hot, server)


def connect(address: str) -> grpc.aio.Channel:
    """Return the channel of a run."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


async def drive(
    call: Any, requests: Iterator[bytes], server: psutil.Process, in_flight: int, seconds: float = math.inf
) -> Tally:
    """Keep calls in flight until the time is over or all requests are sent; measure until the last response."""
    tally = Tally()
    used, begun = cpu_seconds(server), time.perf_counter()
    await asyncio.gather(*(_caller(call, requests, tally, begun + seconds) for _ in range(in_flight)))
    tally.seconds = time.perf_counter() - begun
    tally.cpu_seconds = cpu_seconds(server) - used
    return tally


async def _caller(call: Any, requests: Iterator[bytes], tally: Tally, end: float) -> None:
    clock = time.perf_counter
    begun = clock()
    while begun < end and (request := next(requests, None)):
        try:
            answer = await call(request)
        except grpc.RpcError as error:
            tally.failed[_describe(error)] += 1
        else:
            tally.answers.append((request, answer))
            tally.latencies.append(clock() - begun)
        begun = clock()


def _describe(error: Any) -> str:
    return f"{error.code().name}: {error.details()}"[:200]


def _sample(run: Run, warm: Tally, hot: Tally, server: psutil.Process) -> Sample:
    answers = warm.answers + hot.answers
    failed = warm.failed + hot.failed
    if not run.echoes:
        failed += messages.wrong_answers(run.method, answers)
    elif len({answer for _, answer in answers}) != 1:
        failed["wrong answer"] += 1
    changes = len(answers) if run.method == messages.ENROLL and not run.echoes else 0
    return hot.sample(server, changes=changes, failed=failed)
