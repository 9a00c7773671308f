"""Streams of WatchEvents as the bench reads them: bytes with the times of their arrival, parsed after the measurement.

A watcher takes hardly any time from the server and the database, so many of them fit beside a load.
"""

from __future__ import annotations

import selectors
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from bench import driving, http2
from registrar.v1 import history_service_pb2 as pb

WATCH = "/registrar.v1.HistoryService/WatchEvents"
MOST_BYTES_OF_A_CHECKPOINT = 32
"""Smaller than every event. Only messages that can be checkpoints are parsed when they arrive."""


class Stream:
    """What a watcher has received so far.

    Args:
        after: the revision it has asked for; None if it watches from now on.
    """

    def __init__(self, after: int | None = None) -> None:
        self._after = after
        self._unparsed: list[tuple[float, bytes]] = []
        self._rest = b""
        self.checkpoints: list[int] = []
        """The revision of each checkpoint."""
        self.start = self.revision = -1 if after is None else after
        """The revisions before the first event and after the last message that was parsed."""
        self.revisions: list[int] = []
        """The revision of every event that was parsed."""
        self.lags: list[float] = []
        """The seconds from the time of each event, when its change was decided, to its arrival."""
        self.wrong: Counter[str] = Counter()

    def take(self, payload: bytes) -> None:
        """Take some bytes that have just arrived."""
        now, data = time.time(), self._rest + payload
        at = 0
        while len(data) - at >= http2.MESSAGE.size:
            _, length = http2.MESSAGE.unpack_from(data, at)
            begin = at + http2.MESSAGE.size
            if len(data) < begin + length:
                break
            at = begin + length
            self._unparsed.append((now, data[begin:at]))
            if length <= MOST_BYTES_OF_A_CHECKPOINT:
                self._note_checkpoint(data[begin:at])
        self._rest = data[at:]

    def _note_checkpoint(self, message: bytes) -> None:
        response = pb.WatchEventsResponse.FromString(message)
        if response.checkpoint:
            self.checkpoints.append(response.revision)

    def parse(self) -> Self:
        """Parse what has arrived."""
        for arrived, message in self._unparsed:
            self._parse(arrived, pb.WatchEventsResponse.FromString(message))
        self._unparsed.clear()
        return self

    def _parse(self, arrived: float, response: pb.WatchEventsResponse) -> None:
        if self.start < 0:
            self.start = response.events[0].revision - 1 if response.events else response.revision
        last = response.events[-1].revision if response.events else self.revision
        if response.revision < max(last, self.revision) or response.checkpoint == bool(response.events):
            self.wrong["wrong revision of a response"] += 1
        self.revision = response.revision
        self.revisions += [event.revision for event in response.events]
        self.lags += [arrived - event.time.seconds - event.time.nanos / 1e9 for event in response.events]

    def wrong_until(self, revision: int) -> Counter[str]:
        """Count what is wrong if the watcher should have every event up to a revision, in order and once."""
        found = self.parse().wrong.copy()
        if self.revisions != list(range(self.start + 1, revision + 1)):
            found["a watcher has not exactly the events"] += 1
        return found


class Connection(http2.Connection):
    """A connection to a server, with the streams of watchers."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._streams: dict[int, Stream] = {}

    def watch(self, after: int | None = None) -> Stream:
        """Prepare a call of WatchEvents, for all events after a revision or from now on."""
        request = pb.WatchEventsRequest(after_revision=after)
        found = self._streams[self.begin(WATCH, request.SerializeToString())] = Stream(after)
        return found

    def _keep(self, stream: int, payload: bytes) -> None:
        if stream in self._streams:
            self._streams[stream].take(payload)
        else:
            super()._keep(stream, payload)


class Watchers:
    """Watchers on connections of their own, inside a ``with`` block: ``each`` on a connection to each address."""

    def __init__(self, addresses: Sequence[str], each: int = 1, after: int | None = None) -> None:
        self._selector = selectors.DefaultSelector()
        self._connections = [Connection(address) for address in addresses]
        self.streams: list[Stream] = []
        self.failed: Counter[str] = Counter()
        for connection in self._connections:
            self.add(connection, connection.receive)
            self.streams += [connection.watch(after) for _ in range(each)]
            connection.send()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()

    def add(self, source: driving.Connection | int, proceed: Callable[[], object]) -> None:
        """Call ``proceed`` too whenever something arrives there."""
        self._selector.register(source, selectors.EVENT_READ, proceed)

    def pump(self, seconds: float | None = None) -> None:
        """Receive what arrives next, within some seconds."""
        for key, _ in self._selector.select(seconds):
            found = key.data()
            if isinstance(key.fileobj, Connection):
                self.failed.update(f"ended stream: {answer.failure}" for answer in found)
                key.fileobj.send()

    def wait(self, is_over: Callable[[], bool], seconds: float) -> bool:
        """Receive until something is over; return whether it was within some seconds."""
        end = time.perf_counter() + seconds
        while not is_over():
            remaining = end - time.perf_counter()
            if remaining <= 0 or self.failed:
                return False
            self.pump(remaining)
        return True

    def catch_up(self, seconds: float, revision: int = 0) -> bool:
        """Wait until every watcher has a checkpoint at a revision or a later one; return whether they all got it."""
        return self.wait(
            lambda: all(max(stream.checkpoints, default=-1) >= revision for stream in self.streams), seconds
        )

    def reach(self, revision: int, seconds: float) -> bool:
        """Wait until every watcher has reached a revision; return whether they all have."""
        return self.wait(lambda: all(stream.parse().revision >= revision for stream in self.streams), seconds)

    def wrong_until(self, revision: int) -> Counter[str]:
        """Count what failed, if every watcher should have all events up to a revision."""
        return sum((stream.wrong_until(revision) for stream in self.streams), self.failed)

    def lags(self) -> Iterator[float]:
        """Yield the seconds that each event took to each watcher."""
        for stream in self.streams:
            yield from stream.parse().lags
