"""The promised performance: the rows of ``make bench`` in order, each compared with a baseline of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from bench import measurements
from bench.measurements import BY_HAND, ECHO, OUR_CLIENT, PGBENCH, REGISTRAR, STUB, Case, Sample

POSTGRESQL = "postgresql"
SQLITE = "sqlite"


class Measure(Enum):
    """The figure in which two samples are compared."""

    RATE = "calls/s"
    CPU = "server CPU per call"
    LATENCY = "latency"
    COST = "time per call"
    P50 = "p50 ms"
    P99 = "p99 ms"
    UNKNOWN = "UNKNOWN or INTERNAL"
    GROWTH = "MB of memory more"
    CLIENT_GROWTH = "MB of the client's memory more"
    CORE = "% of a core more"
    LOG = "bytes of log per call"

    @property
    def more_is_better(self) -> bool:
        """Whether a higher ratio is better."""
        return self is Measure.RATE

    def of(self, sample: Sample) -> float:
        """Return the figure."""
        match self:
            case Measure.RATE:
                return sample.calls_per_s
            case Measure.CPU:
                return sample.server_cpu_us_per_call or 0.0
            case Measure.LATENCY | Measure.P50:
                return sample.p50_ms
            case Measure.COST:
                return 1 / sample.calls_per_s
            case Measure.P99:
                return sample.p99_ms
            case Measure.UNKNOWN:
                return sum(sample.statuses.get(status, 0) for status in ("UNKNOWN", "INTERNAL"))
            case Measure.GROWTH | Measure.CLIENT_GROWTH:
                return sample.rss_growth_mb or 0.0
            case Measure.CORE:
                return sample.core_growth_percent or 0.0
            case Measure.LOG:
                return sample.log_bytes_per_call or 0.0


class Target(NamedTuple):
    """A case, its baselines (several are added up), and goals for the ratio: one that it must reach, and an aim.

    Without a baseline, the goals are for the figure itself.
    """

    group: str
    measure: Measure
    ours: Case
    against: Sequence[Case]
    must: float | None = None
    aim: float | None = None

    @property
    def ratio_to(self) -> str:
        """The names of the baselines."""
        return " + ".join(case.workload if case.system == self.ours.system else case.system for case in self.against)

    @property
    def goals(self) -> Sequence[float]:
        """The goals that there are."""
        return [goal for goal in (self.must, self.aim) if goal is not None]

    @property
    def cases(self) -> Sequence[Case]:
        """All cases to measure, in order; a baseline on the same server comes first and warms the server up."""
        return sorted((*self.against, self.ours), key=lambda case: case.system != self.ours.system)

    def ratio(self, ours: Sample, against: Sequence[Sample]) -> float:
        """Return the ratio in one round, or the figure if there is no baseline."""
        if not against:
            return self.measure.of(ours)
        theirs = sum(self.measure.of(sample) for sample in against)
        return self.measure.of(ours) / theirs if theirs else 0.0

    def reached(self, ratio: float, goal: float) -> bool:
        """Return whether a ratio reaches a goal."""
        return ratio >= goal if self.measure.more_is_better else ratio <= goal


def _registrar(workload: str, database: str) -> Case:
    return Case(workload, database, REGISTRAR)


def _echo(workload: str) -> Case:
    return Case(workload, "", ECHO)


def _pgbench(group: str, workload: str, must: float, aim: float) -> Target:
    ours = _registrar(workload, POSTGRESQL)
    return Target(group, Measure.RATE, ours, (ours._replace(system=PGBENCH),), must, aim)


def _orm(group: str, workload: str, database: str, must: float, aim: float) -> Target:
    ours = _registrar(workload, database)
    return Target(group, Measure.RATE, ours, (ours._replace(system=measurements.ORM),), must, aim)


def _against_echo(group: str, measure: Measure, workload: str, database: str, must: float, aim: float) -> Target:
    # The cost of an echo does not depend on the course, so the hot course needs no echo workload.
    echoed = measurements.MANY if workload == measurements.HOT else workload
    return Target(group, measure, _registrar(workload, database), (_echo(echoed),), must, aim)


def _by_hand(workload: str, database: str, must: float) -> Target:
    ours = _registrar(workload, database)
    against = (_echo(workload), ours._replace(system=BY_HAND))
    return Target("one", Measure.LATENCY, ours, against, must, 1.3)


def _beside(workload: str, database: str) -> Target:
    return Target("beside", Measure.P99, _registrar(workload, database), (), 50.0)


def _beside_writes(database: str) -> Target:
    # This row shows that the load beside the reads is the full one.
    ours = _registrar(measurements.BESIDE_WRITES, database)
    return Target("beside", Measure.RATE, ours, (_registrar(measurements.MANY, database),))


def _broken(measure: Measure, database: str, must: float) -> Target:
    return Target("broken", measure, _registrar(measurements.BROKEN, database), (), must)


def _waitlisted(workload: str, database: str, must: float, aim: float) -> Target:
    # No baseline has a waitlist. Joining the waitlist should cost little more than taking a seat. A drop does the work
    # of two calls: one student leaves, another is promoted.
    against = (_registrar(measurements.HOT, database),)
    return Target("waitlist", Measure.RATE, _registrar(workload, database), against, must, aim)


def _blocked(workload: str, baseline: str, measure: Measure, database: str, must: float, aim: float) -> Target:
    # Each batch judges all waiters again, so that no newcomer passes one whom the rules allow by now.
    return Target("blocked", measure, _registrar(workload, database), (_registrar(baseline, database),), must, aim)


def _over_http(workload: str, grpc_workload: str, database: str) -> Sequence[Target]:
    ours = _registrar(workload, database)
    by_hand = Target("http", Measure.CPU, ours, (ours._replace(system=measurements.STARLETTE),), 1.3, 1.1)
    # This row shows what HTTP costs beside gRPC.
    return by_hand, Target("http", Measure.CPU, ours, (_registrar(grpc_workload, database),))


def _batched(measure: Measure, workload: str, against: Case, must: float, aim: float) -> Target:
    return Target("batch", measure, _registrar(workload, against.database), (against,), must, aim)


def _grown(database: str) -> Target:
    ours = _registrar(measurements.GROWN, database)
    return Target("grown", Measure.COST, ours, (_registrar(measurements.MANY, database),), 1.3, 1.1)


def _watched(workload: str, measure: Measure, must: float | None = None, database: str = POSTGRESQL) -> Target:
    return Target("watch", measure, _registrar(workload, database), (), must)


def _watched_than(workload: str, unwatched: str, must: float, aim: float) -> Target:
    ours = _registrar(workload, POSTGRESQL)
    return Target("watch", Measure.RATE, ours, (_registrar(unwatched, POSTGRESQL),), must, aim)


PGBENCH_HOT = Case(measurements.HOT, POSTGRESQL, PGBENCH)
PGBENCH_MANY = Case(measurements.MANY, POSTGRESQL, PGBENCH)
GATHERED = _registrar(measurements.GATHERED, POSTGRESQL)
BULK = _registrar(measurements.BULK, POSTGRESQL)
BULK_BESIDE = _registrar(measurements.BULK_BESIDE, POSTGRESQL)

TARGETS = (
    _pgbench("hot", measurements.HOT, 3.5, 5.0),
    _pgbench("many", measurements.MANY, 1.6, 2.5),
    _against_echo("many", Measure.RATE, measurements.MANY, POSTGRESQL, 0.25, 0.8),
    _against_echo("many", Measure.RATE, measurements.MANY, SQLITE, 0.25, 0.8),
    _against_echo("hot", Measure.CPU, measurements.HOT, POSTGRESQL, 1.6, 1.2),
    _against_echo("many", Measure.CPU, measurements.MANY, POSTGRESQL, 1.7, 1.2),
    _against_echo("hot", Measure.CPU, measurements.HOT, SQLITE, 2.2, 1.6),
    _against_echo("many", Measure.CPU, measurements.MANY, SQLITE, 2.2, 1.6),
    _against_echo("reads", Measure.CPU, measurements.READS, POSTGRESQL, 1.7, 1.3),
    _against_echo("reads", Measure.CPU, measurements.READS, SQLITE, 1.7, 1.3),
    _orm("hot", measurements.HOT, SQLITE, 4.0, 8.0),
    _orm("many", measurements.MANY, SQLITE, 4.0, 8.0),
    _orm("hot", measurements.HOT, POSTGRESQL, 5.0, 10.0),
    _orm("many", measurements.MANY, POSTGRESQL, 5.0, 10.0),
    _waitlisted(measurements.WAITLIST_ENROLL, POSTGRESQL, 0.7, 0.9),
    _waitlisted(measurements.WAITLIST_DROP, POSTGRESQL, 0.4, 0.7),
    _waitlisted(measurements.WAITLIST_ENROLL, SQLITE, 0.7, 0.9),
    _waitlisted(measurements.WAITLIST_DROP, SQLITE, 0.4, 0.7),
    _blocked(measurements.BLOCKED, measurements.UNBLOCKED, Measure.RATE, POSTGRESQL, 0.08, 0.3),
    _blocked(measurements.BLOCKED_ONE, measurements.UNBLOCKED_ONE, Measure.LATENCY, POSTGRESQL, 150.0, 50.0),
    _blocked(measurements.BLOCKED, measurements.UNBLOCKED, Measure.RATE, SQLITE, 0.08, 0.3),
    _blocked(measurements.BLOCKED_ONE, measurements.UNBLOCKED_ONE, Measure.LATENCY, SQLITE, 150.0, 50.0),
    _by_hand(measurements.ONE, POSTGRESQL, 1.4),
    _by_hand(measurements.ONE, SQLITE, 1.7),
    _by_hand(measurements.ONE_READ, POSTGRESQL, 1.4),
    _by_hand(measurements.ONE_READ, SQLITE, 1.7),
    *(
        target
        for database in (POSTGRESQL, SQLITE)
        for target in (
            *_over_http(measurements.HTTP_HOT, measurements.HOT, database),
            *_over_http(measurements.HTTP_READS, measurements.READS, database),
        )
    ),
    *(
        target
        for database in (POSTGRESQL, SQLITE)
        for target in (
            _beside(measurements.BESIDE_CHECK, database),
            _beside(measurements.BESIDE_READ, database),
            _beside_writes(database),
        )
    ),
    _batched(Measure.RATE, measurements.BATCH_HOT, PGBENCH_HOT, 10.0, 15.0),
    _batched(Measure.RATE, measurements.BATCH_MANY, PGBENCH_MANY, 4.5, 8.0),
    _batched(Measure.CPU, measurements.BATCH_HOT, _registrar(measurements.HOT, POSTGRESQL), 0.25, 0.15),
    _batched(Measure.CPU, measurements.BATCH_MANY, _registrar(measurements.MANY, POSTGRESQL), 0.25, 0.15),
    _batched(Measure.RATE, measurements.BATCH_MANY, Case(measurements.MANY, SQLITE, measurements.ORM), 18.0, 30.0),
    Target("gather", Measure.RATE, GATHERED, (_registrar(measurements.UNGATHERED, POSTGRESQL),), 2.5, 4.0),
    Target("gather", Measure.RATE, GATHERED, (PGBENCH_HOT,), 5.0, 8.0),
    Target("bulk", Measure.RATE, BULK, (BULK._replace(system=measurements.COPY),), 0.10, 0.25),
    Target("bulk", Measure.CLIENT_GROWTH, BULK, (), 10.0),
    Target("bulk", Measure.P99, BULK_BESIDE, (_registrar(measurements.BULK_BEFORE, POSTGRESQL),), 3.0, 2.0),
    Target(
        "identity",
        Measure.CPU,
        Case(measurements.MANY, "", measurements.IDENTIFYING_ECHO),
        (_echo(measurements.MANY),),
        1.10,
        1.05,
    ),
    *(
        target
        for database in (POSTGRESQL, SQLITE)
        for target in (
            # This row shows what of the others is the time of the call.
            _watched(measurements.WATCH_WRITE, Measure.P50, None, database),
            _watched(measurements.WATCH_SAME, Measure.P50, 10.0, database),
            _watched(measurements.WATCH_OTHER, Measure.P50, 50.0, database),
        )
    ),
    _watched_than(measurements.WATCHED_HOT, measurements.UNWATCHED_HOT, 0.8, 0.9),
    _watched(measurements.ARRIVING_HOT, Measure.P99, 1000.0),
    _watched_than(measurements.WATCHED_MANY, measurements.UNWATCHED_MANY, 0.8, 0.9),
    _watched(measurements.ARRIVING_MANY, Measure.P99, 1000.0),
    _watched_than(measurements.CAUGHT_UP, measurements.LISTED, 0.7, 1.0),
    _watched_than(measurements.CAUGHT_UP_TEN, measurements.LISTED, 4.0, 8.0),
    *(
        target
        for workload in measurements.CROWDS
        for target in (_watched(workload, Measure.CORE, 2.0), _watched(workload, Measure.GROWTH, 100.0))
    ),
    _grown(POSTGRESQL),
    _grown(SQLITE),
    Target(
        "client",
        Measure.LATENCY,
        Case(measurements.CLIENT, "", OUR_CLIENT),
        (Case(measurements.CLIENT, "", STUB),),
        1.3,
        1.1,
    ),
    *(
        target
        for database in (POSTGRESQL, SQLITE)
        for target in (
            _broken(Measure.UNKNOWN, database, 0),
            _broken(Measure.GROWTH, database, 5),
            _broken(Measure.LOG, database, 200),
        )
    ),
)

GROUPS = tuple(dict.fromkeys(target.group for target in TARGETS))
LONG_GROUPS = ("broken", "bulk")
"""The groups that run only on demand: 100,000 messages to each of two servers, and a load of a million rows."""
DEFAULT_GROUPS = tuple(group for group in GROUPS if group not in LONG_GROUPS)
# Seeding and verifying a million enrollments takes minutes.
QUICK_GROUPS = tuple(group for group in DEFAULT_GROUPS if group != "grown")


def chosen(groups: Sequence[str]) -> list[Target]:
    """Return the targets of these groups, in order."""
    return [target for target in TARGETS if target.group in groups]


def cases(targets: Sequence[Target]) -> list[Case]:
    """Return every case that the targets need once; compared cases are close together."""
    return list(dict.fromkeys(case for target in targets for case in target.cases))
