"""The names of workloads and systems, a case to measure, and the sample that one run of it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, NamedTuple, Self

HOT = "hot course"
WAITLIST_ENROLL = "waitlisted course, 10,000 enroll"
WAITLIST_DROP = "waitlisted course, 500 drop"
MANY = "2,000 courses"
READS = "ListCourses, 5 each"
ONE = "one at a time"
CLIENT = "client overhead"
GROWN = "2,000 courses, 1M stored"
BLOCKED = "5,000 blocked waiters"
BLOCKED_ONE = "5,000 blocked waiters, one at a time"
UNBLOCKED = "no waiters"
UNBLOCKED_ONE = "no waiters, one at a time"

REGISTRAR = "registrar"
ECHO = "echo"
PGBENCH = "pgbench"
ORM = "one ORM transaction per call"
BY_HAND = "statements by hand"
OUR_CLIENT = "RegistrarClient.enroll"
STUB = "bare stub"


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
    peak_rss_mb: float | None = None
    changes: int = 0
    """Calls that changed the database, including the warm-up; the counts in the database must grow by this number."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """Numbers of failed calls and wrong responses, by kind."""

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float, **others: Any) -> Self:
        """Summarize calls with these latencies that took ``seconds`` together."""
        cuts = quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
        return cls(len(latencies) / seconds, cuts[49] * 1000, cuts[98] * 1000, **others)

    def as_dict(self) -> dict[str, Any]:
        """Return the arguments of ``Sample(**…)``, to send a sample to another process."""
        return vars(self)
