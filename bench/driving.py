"""The load generator: keeps many calls in flight, sends and receives bytes, and keeps the answers for later checks.

It is one process with one thread. All messages are serialized before the measurement.
"""

from __future__ import annotations

import gc
import math
import re
import selectors
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from bench import http2
from bench.measurements import Sample
from bench.meters import Meter, Usage

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The ids in failures are left out, so that equal failures are counted together."""


class Answer(Protocol):
    """The end of a call."""

    @property
    def stream(self) -> int:
        """The number that ``begin`` has returned."""

    @property
    def message(self) -> bytes:
        """The response."""

    @property
    def failure(self) -> str:
        """The status and the message of an error, or an empty string."""


class Connection(Protocol):
    """A connection to a server, of gRPC (``http2.py``) or of HTTP/1.1 (``http1.py``)."""

    def fileno(self) -> int:
        """Return the descriptor of the socket, for selectors."""

    def close(self) -> None:
        """Close the connection."""

    def begin(self, method: str, request: bytes, /) -> int:
        """Prepare a call and return its number among the calls that are under way."""

    def send(self) -> None:
        """Send all that is prepared."""

    def receive(self) -> Sequence[Answer]:
        """Wait until the server sends something, and return the answers that are complete."""


@dataclass
class Tally:
    """The results of the calls."""

    latencies: list[float] = field(default_factory=list)
    """The seconds of each call that succeeded."""
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """The request and the response of each."""
    refused: list[float] = field(default_factory=list)
    """The seconds of each call that failed."""
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add the results of other calls."""
        self.latencies += other.latencies
        self.answers += other.answers
        self.refused += other.refused
        self.failed += other.failed


@dataclass
class Calls:
    """Calls of one kind, of which ``in_flight`` are always under way, as long as there are requests.

    With an interval, there is one at a time, and no more than one in each interval. Calls without pauses would hardly
    show that the server sometimes pauses: few of them would be slow.
    """

    method: str
    requests: Iterator[bytes]
    in_flight: int
    interval: float = 0.0
    tally: Tally = field(default_factory=Tally)


@contextmanager
def connect(
    address: str, connections: int = 1, kind: Callable[[str], Connection] = http2.Connection
) -> Iterator[Sequence[Connection]]:
    """Connect so many times to a server."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(kind(address))) for _ in range(connections)]


def drive(
    connections: Sequence[Connection],
    method: str,
    requests: Iterator[bytes],
    meter: Meter,
    in_flight: int,
    seconds: float = math.inf,
) -> tuple[Tally, Usage]:
    """Keep calls in flight until the time is over or all requests are sent; measure until the last response."""
    tally = Tally()
    shares = [len(range(place, in_flight, len(connections))) for place in range(len(connections))]
    calls = [Calls(method, requests, share, tally=tally) for share in shares]
    return tally, drive_all(list(zip(connections, calls, strict=True)), meter, seconds)


def drive_all(pairs: Sequence[tuple[Connection, Calls]], meter: Meter, seconds: float) -> Usage:
    """Keep calls of each kind in flight on its connection; return what all of them used."""
    # A collection would delay the load, and everything that is kept is needed.
    gc.collect()
    gc.disable()
    meter.begin()
    end = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector:
        lines = [(_PacedLine if calls.interval else _Line)(connection, calls, end) for connection, calls in pairs]
        for line in lines:
            selector.register(line.connection, selectors.EVENT_READ, line)
            line.begin(line.calls.in_flight)
        _proceed(selector, lines)
    usage = meter.end()
    gc.enable()
    return usage


def _proceed(selector: selectors.BaseSelector, lines: Sequence[_Line]) -> None:
    paced = [line for line in lines if isinstance(line, _PacedLine)]
    while any(line.is_busy for line in lines):
        pauses = [line.pause for line in paced if not line.waits]
        for key, _events in selector.select(min(pauses, default=None)):
            key.data.proceed()
        for line in paced:
            line.begin(1)


class _Line:
    """A connection with its calls."""

    def __init__(self, connection: Connection, calls: Calls, end: float) -> None:
        self.connection = connection
        self.calls = calls
        self._under_way: dict[int, tuple[bytes, float]] = {}
        """The request and the time of each call, by its stream."""
        self._end = end

    @property
    def is_busy(self) -> bool:
        """Whether calls are under way, or due later."""
        return bool(self._under_way)

    def begin(self, count: int) -> None:
        """Send so many requests, or fewer if the time is over or none are left."""
        for _ in range(count):
            begun = time.perf_counter()
            if begun < self._end and (request := next(self.calls.requests, None)) is not None:
                self._under_way[self.connection.begin(self.calls.method, request)] = request, begun
        self.connection.send()

    def proceed(self) -> None:
        """Receive answers, and replace their calls by new ones."""
        answers = self.connection.receive()
        now = time.perf_counter()
        for answer in answers:
            self._count(answer, now)
        self.begin(len(answers))

    def _count(self, answer: Answer, now: float) -> None:
        request, begun = self._under_way.pop(answer.stream)
        if failure := answer.failure:
            self.calls.tally.refused.append(now - begun)
            self.calls.tally.failed[_ID.sub("…", failure)[:200]] += 1
        else:
            self.calls.tally.answers.append((request, answer.message))
            self.calls.tally.latencies.append(now - begun)


class _PacedLine(_Line):
    """A connection with one call at a time, and with pauses."""

    def __init__(self, connection: Connection, calls: Calls, end: float) -> None:
        super().__init__(connection, calls, end)
        self._due = time.perf_counter()

    @property
    def is_busy(self) -> bool:
        return bool(self._under_way) or self._due < self._end

    @property
    def waits(self) -> bool:
        """Whether nothing is to be sent before an answer."""
        return bool(self._under_way) or self._due >= self._end

    @property
    def pause(self) -> float:
        """How many seconds nothing is due."""
        return max(0.0, self._due - time.perf_counter())

    def begin(self, count: int) -> None:
        """Send the request that is due, if the call before it has ended. Without one, nothing is due any more."""
        if not self.waits and not self.pause:
            request = next(self.calls.requests, None)
            begun = time.perf_counter()
            self._due = math.inf if request is None else begun + self.calls.interval
            if request is not None:
                self._under_way[self.connection.begin(self.calls.method, request)] = request, begun
        self.connection.send()


def sample(tally: Tally, usage: Usage, meter: Meter, each: int = 1, **others: Any) -> Sample:
    """Return the sample of these calls, each with so many writes; ``others`` are further fields of the sample."""
    per_call = usage.per_call(each * len(tally.latencies))
    figures = {"peak_rss_mb": meter.peak_rss_mb(), **per_call, **others}
    return Sample.of(tally.latencies, usage.seconds, each, **figures)
