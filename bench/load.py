"""The load generator: many calls in flight over one channel, bytes in and bytes out, checked after the clock."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
import uvloop

from bench import messages, samples
from bench.processes import cpu_seconds, peak_rss_mb
from bench.samples import Sample

CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Run:
    """What to call, for how long, and with how many calls in flight."""

    address: str
    pid: int
    workload: str
    round_number: int
    stored: int
    in_flight: int
    warm_up: float
    seconds: float
    echoes: bool
    """The answers are not about the requests, but always the same."""

    @property
    def method(self) -> str:
        """The RPC of the workload."""
        return messages.LIST if self.workload == samples.READS else messages.ENROLL

    def requests(self) -> list[bytes]:
        """Return all that could be sent, serialized."""
        if self.method == messages.LIST:
            generated: Iterator[Any] = messages.listings(self.stored)
        else:
            pairing = messages.Pairing.of(self.workload, self.round_number)
            generated = messages.enrollments(pairing, messages.first_caller(self.stored))
        count = int((self.warm_up + self.seconds) * messages.MOST_PER_SECOND)
        return [request.SerializeToString() for request in itertools.islice(generated, count)]


@dataclass
class Tally:
    """What came back."""

    latencies: list[float] = field(default_factory=list)
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def run(**given: Any) -> dict[str, Any]:
    """Carry out one run and return its sample."""
    return uvloop.run(_run(Run(**given))).as_dict()


async def _run(run: Run) -> Sample:
    requests = iter(run.requests())
    server = psutil.Process(run.pid)
    async with grpc.aio.insecure_channel(run.address, options=CHANNEL_OPTIONS) as channel:
        call: Any = channel.unary_unary(run.method)
        warm = await _drive(call, requests, run.in_flight, run.warm_up)
        before = cpu_seconds(server)
        hot = await _drive(call, requests, run.in_flight, run.seconds)
        cpu = cpu_seconds(server) - before
    return _sample(run, warm, hot, cpu, peak_rss_mb(server))


async def _drive(call: Any, requests: Iterator[bytes], in_flight: int, seconds: float) -> Tally:
    """Keep calls in flight for a while, then wait for the last; the clock stops with the last answer."""
    tally = Tally()
    begun = time.perf_counter()
    await asyncio.gather(*(_caller(call, requests, tally, begun + seconds) for _ in range(in_flight)))
    tally.seconds = time.perf_counter() - begun
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


def _sample(run: Run, warm: Tally, hot: Tally, cpu: float, rss: float) -> Sample:
    answers = warm.answers + hot.answers
    failed = warm.failed + hot.failed
    if not run.echoes:
        failed += messages.wrong_answers(run.method, answers)
    elif len({answer for _, answer in answers}) != 1:
        failed["wrong answer"] += 1
    return Sample.of(
        hot.latencies,
        hot.seconds,
        server_cpu_us_per_call=cpu / max(1, len(hot.latencies)) * 1e6,
        peak_rss_mb=rss,
        changes=len(answers) if run.method == messages.ENROLL and not run.echoes else 0,
        failed=failed,
    )
