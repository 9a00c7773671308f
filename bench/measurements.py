"""The names of workloads and systems, a case to measure, and the sample that one run of it returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import Any, NamedTuple, Self

HOT = "hot course"
WAITLIST_ENROLL = "waitlisted course, 10,000 enroll"
WAITLIST_DROP = "waitlisted course, 500 drop"
MANY = "2,000 courses"
READS = "ListCourses, 5 each"
ONE = "one at a time"
ONE_READ = "ListCourses, one at a time"
CLIENT = "client overhead"
GROWN = "2,000 courses, 1M stored"
BLOCKED = "5,000 blocked waiters"
BLOCKED_ONE = "5,000 blocked waiters, one at a time"
UNBLOCKED = "no waiters"
UNBLOCKED_ONE = "no waiters, one at a time"
BESIDE_CHECK = "Check beside 64 writes"
BESIDE_READ = "GetStudent beside 64 writes"
BESIDE_WRITES = "2,000 courses, beside reads"
BROKEN = "bytes that are no message"
BATCH_HOT = "hot course, batches of 256"
BATCH_MANY = "2,000 courses, batches of 256"
GATHERED = "hot course, 256 callers, gather"
UNGATHERED = "hot course, 256 callers"
BULK = "bulk, 2,000 courses, 10 each"
BULK_BEFORE = "EnrollStudent before bulk"
BULK_BESIDE = "EnrollStudent beside bulk"
WATCH_WRITE = "EnrollStudent, 20 a second"
WATCH_SAME = "to its event at the same server"
WATCH_OTHER = "to its event at another server"
UNWATCHED_HOT = "hot course, batches, unwatched"
WATCHED_HOT = "hot course, batches, 10 watchers"
ARRIVING_HOT = "events of a hot course, 10 watchers"
UNWATCHED_MANY = "2,000 courses, batches, unwatched"
WATCHED_MANY = "2,000 courses, batches, 10 watchers"
ARRIVING_MANY = "events of 2,000 courses, 10 watchers"
IDLE_WATCHERS = "1,000 idle watchers, 20 connections"
IDLE_CONNECTIONS = "1,000 idle watchers, 1,000 connections"
LISTED = "ListEvents, 1,000 each"
CAUGHT_UP = "50,000 events, 1 watcher"
CAUGHT_UP_TEN = "50,000 events, 10 watchers"

HTTP_HOT = "hot course, HTTP"
HTTP_READS = "ListCourses, 5 each, HTTP"

READING = (READS, ONE_READ, HTTP_READS)
OVER_HTTP = (HTTP_HOT, HTTP_READS)
"""The workloads over HTTP, on a connection for each call in flight."""
BATCHED = (BATCH_HOT, BATCH_MANY)
"""The workloads of BatchWrite. Each write counts as a call, except in the latencies, which are those of a batch."""
GATHERING = (UNGATHERED, GATHERED)
"""The workloads of the async client."""
BULKY = (BULK_BEFORE, BULK, BULK_BESIDE)
"""The workloads of a bulk load, in the order of one run. It is so long that it runs in the first round only."""
WATCH_IDLE = (WATCH_WRITE, WATCH_SAME, WATCH_OTHER)
"""The workloads of one call after the other, whose events two watchers wait for. Latencies begin with the call."""
WATCH_HOT = (UNWATCHED_HOT, WATCHED_HOT, ARRIVING_HOT)
WATCH_MANY = (UNWATCHED_MANY, WATCHED_MANY, ARRIVING_MANY)
"""Batches without watchers, with them, and the events that they get, from the time of each event to its arrival."""
CATCHING_UP = (LISTED, CAUGHT_UP, CAUGHT_UP_TEN)
"""The workloads that read the newest events, each of which counts as a call."""
CROWDS = (IDLE_WATCHERS, IDLE_CONNECTIONS)
"""The workloads of watchers for whom nothing happens, at a server of their own, which is new in each round."""
WATCHING = (*WATCH_IDLE, *WATCH_HOT, *WATCH_MANY, *CATCHING_UP, *CROWDS)
ALONE = (ONE, ONE_READ)
"""The workloads with one call in flight."""
QUEUED = (UNBLOCKED_ONE, UNBLOCKED, BLOCKED_ONE, BLOCKED)
"""The workloads of newcomers, in the order in which one run measures them."""
WAITLISTED = (WAITLIST_ENROLL, WAITLIST_DROP)
"""The workloads of the waitlisted course, in the order in which one run measures them."""
BESIDE = (BESIDE_CHECK, BESIDE_READ, BESIDE_WRITES)
"""The workloads that one run measures at the same time."""

REGISTRAR = "registrar"
ECHO = "echo"
IDENTIFYING_ECHO = "echo that identifies callers"
PGBENCH = "pgbench"
ORM = "one ORM transaction per call"
BY_HAND = "statements by hand"
COPY = "COPY"
STARLETTE = "Starlette by hand"
OUR_CLIENT = "RegistrarClient.enroll"
STUB = "bare stub"


ECHOES = (ECHO, IDENTIFYING_ECHO)


class Case(NamedTuple):
    """One workload on one system. The database is an empty string if the system has none."""

    workload: str
    database: str
    system: str


@dataclass(frozen=True)
class Sample:
    """The results of one run of a case."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu_us_per_call: float | None = None
    database_cpu_us_per_call: float | None = None
    load_cpu_us_per_call: float | None = None
    peak_rss_mb: float | None = None
    clients: int | None = None
    """The number of clients of pgbench."""
    rss_growth_mb: float | None = None
    core_growth_percent: float | None = None
    """The processor time that the server takes more than before, in percent of one core."""
    log_bytes_per_call: float | None = None
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Numbers of calls by their status, where not all are expected to succeed."""
    changes: int = 0
    """Calls that changed the database, including the warm-up; the counts in the database must grow by this number."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Numbers of failed calls and wrong responses, by kind."""

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float, each: int = 1, **others: Any) -> Self:
        """Summarize calls with these latencies that took ``seconds`` together; each counts as so many calls."""
        cuts = quantiles(latencies, n=100) if len(latencies) > 1 else [sum(latencies)] * 99
        return cls(each * len(latencies) / seconds, cuts[49] * 1000, cuts[98] * 1000, **others)

    def with_changes(self, changes: int, failed: Mapping[str, int]) -> Self:
        """Return this sample with the changes and failures of calls outside of the measurement."""
        return replace(self, changes=self.changes + changes, failed=Counter(self.failed) + Counter(failed))

    def as_dict(self) -> dict[str, Any]:
        """Return the arguments of ``Sample(**…)``, to send a sample to another process."""
        return vars(self)


def by_workload(case: Case, workloads: Sequence[str], samples: Sequence[Sample]) -> dict[Case, Sample]:
    """Return the samples of one run by their cases, which differ in the workload."""
    return {case._replace(workload=workload): sample for workload, sample in zip(workloads, samples, strict=True)}
