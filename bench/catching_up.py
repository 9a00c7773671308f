"""Readers of the newest events: pages of ListEvents, one watcher, and ten watchers at the same time.

Each of them begins when nobody watches, so that the server has no event in memory.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import grpc

from bench import driving, messages
from bench.driving import Tally
from bench.measurements import Sample
from bench.meters import Meter
from bench.streams import Watchers
from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceStub

EVENTS = 50_000
PAGE = 1_000
WATCHERS = 10
TIMEOUT_S = 120.0


def run(*, address: str, server: int, database: int | None) -> list[dict[str, Any]]:
    """Run once and return three samples: of the list, of one watcher and of ten. Each event counts as a call."""
    meter, last = Meter(server, database), _last_revision(address)
    after = last - EVENTS
    _list(address, Meter(), after, last)  # The database reads the table into its memory.
    samples = (
        _list(address, meter, after, last),
        _watch(address, meter, after, last, 1),
        _watch(address, meter, after, last, WATCHERS),
    )
    return [sample.as_dict() for sample in samples]


def _last_revision(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        return HistoryServiceStub(channel).ListEvents(pb.ListEventsRequest(page_size=1)).last_revision


def _list(address: str, meter: Meter, after: int, last: int) -> Sample:
    """Read one page after the other. Revisions have no gaps, so all requests are known."""
    pages = (pb.ListEventsRequest(after_revision=first, page_size=PAGE) for first in range(after, last, PAGE))
    with driving.connect(address) as connections:
        tally, usage = driving.drive(connections, messages.LIST_EVENTS, messages.serialized(pages), meter, in_flight=1)
    return driving.sample(tally, usage, meter, PAGE, failed=tally.failed + _wrong_pages(tally, after, last))


def _wrong_pages(tally: Tally, after: int, last: int) -> Counter[str]:
    pages = [pb.ListEventsResponse.FromString(answer) for _, answer in tally.answers]
    is_wrong = [event.revision for page in pages for event in page.events] != list(range(after + 1, last + 1))
    return Counter({"the pages have not exactly the events": 1} if is_wrong else {})


def _watch(address: str, meter: Meter, after: int, last: int, count: int) -> Sample:
    """Read with so many watchers until each has a checkpoint. The latencies are those of whole readers."""
    meter.begin()
    with Watchers([address] * count, after=after) as watchers:
        caught_up = watchers.catch_up(TIMEOUT_S, last)
        usage = meter.end()
        failed = watchers.wrong_until(last)
    if not caught_up:
        failed["a watcher got no checkpoint"] += 1
    events = EVENTS * count
    latencies = [usage.seconds] * count
    return Sample.of(
        latencies, usage.seconds, EVENTS, peak_rss_mb=meter.peak_rss_mb(), failed=failed, **usage.per_call(events)
    )
