"""The stage: runs a case on its systems, and checks the database after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from bench import bulk_load, echo, measurements, messages, pgbench
from bench.measurements import Case, Sample, by_workload
from bench.messages import ROUNDS, Crowd, Pairing, Queue
from bench.systems import BATCHES_IN_FLIGHT, Systems, stored
from bench.watch_runs import WatchRuns
from tests.support import postgres

IN_FLIGHT = 64
CALLERS = 256


class Pace(NamedTuple):
    """The seconds of each run, the number of rounds, and the sizes of the workloads that measure no fixed time."""

    warm_up: float
    seconds: float
    rounds: int
    crowd: Crowd
    queue: Queue
    broken: int
    """The number of broken messages."""
    bulk: int
    """The number of students of the bulk load."""
    idle: float
    """The seconds for which watchers watch without events."""


class NotFound(Exception):
    """This machine lacks the program that the case measures."""


class Stage:
    """Runs cases on their systems, which run inside a ``with`` block."""

    def __init__(self, pace: Pace, connections: int = 1) -> None:
        self._pace = pace
        self._connections = connections
        self.pgbench_rates: dict[str, dict[int, float]] = {}
        """The calls/s of pgbench with each number of clients, by workload."""
        self._samples: dict[tuple[Case, int], Sample] = {}
        # The runs of pgbench start at students far apart.
        calls = pgbench.APART * (len(pgbench.CLIENTS) + 1) + int(
            messages.MOST_PER_SECOND * (pace.warm_up + pace.seconds)
        )
        self._callers = max(calls, pace.bulk + bulk_load.CALLERS)
        self._systems = Systems(self._callers + pace.queue.waiters, pace.crowd)
        self._watched = WatchRuns(self._systems, self._callers, pace.warm_up, pace.seconds, pace.idle)

    def __enter__(self) -> Self:
        self._systems.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._systems.__exit__(*exception)

    @property
    def folder(self) -> Path:
        """The folder of the databases of SQLite and of the logs."""
        return self._systems.folder

    def version(self) -> str:
        """Return the version of PostgreSQL."""
        return postgres.version(self._systems.binaries)

    def run(self, case: Case, round_number: int) -> Sample:
        """Return the sample of a case; keep samples of other cases that the same run measures, for later calls."""
        if (case, round_number) not in self._samples:
            found = self._measure(case, round_number)
            self._samples |= {(each, round_number): sample for each, sample in self._checked(found).items()}
        return self._samples[case, round_number]

    def _measure(self, case: Case, round_number: int) -> dict[Case, Sample]:
        match case.system:
            case measurements.PGBENCH:
                return {case: self._run_pgbench(case, round_number)}
            case measurements.BY_HAND:
                return {case: self._run_by_hand(case, round_number)}
            case measurements.OUR_CLIENT | measurements.STUB:
                return self._run_clients(case)
            case measurements.COPY:
                return {case: self._run_copy(case, round_number)}
        if case.workload in measurements.WAITLISTED:
            return self._run_waitlist(case, round_number)
        if case.workload in measurements.QUEUED:
            return self._run_blocked(case, round_number)
        if case.workload in measurements.BESIDE:
            return self._run_beside(case, round_number)
        if case.workload in measurements.BATCHED:
            return {case: self._run_batches(case, round_number)}
        if case.workload in measurements.GATHERING:
            return {case: self._run_gather(case, round_number)}
        if case.workload in measurements.BULKY:
            return self._run_bulk(case)
        if case.workload in measurements.WATCHING:
            return self._watched.run(case, round_number)
        if case.workload == measurements.BROKEN:
            return {case: self._run_broken(case, round_number)}
        return {case: self._run_load(case, round_number)}

    def _checked(self, found: dict[Case, Sample]) -> dict[Case, Sample]:
        """Add wrong counts in the database after a run as a failure to the last sample."""
        *_, (case, last) = found.items()
        changes = sum(sample.changes for sample in found.values())
        wrong = self._systems.store(case).check(changes) if case.database else ""
        return {**found, case: replace(last, failed={**last.failed, wrong: 1})} if wrong else found

    def verify(self) -> dict[Case, list[str]]:
        """Return the disagreements in each database that Registrar changed."""
        return {case: store.disagreements() for case, store in self._systems.changed.items()}

    def _run_load(self, case: Case, round_number: int) -> Sample:
        over_http = case.workload in measurements.OVER_HTTP
        # The first half of the students enroll over gRPC.
        first = messages.first_caller(stored(case)) + (self._callers // 2 if over_http else 0)
        in_flight = 1 if case.workload in measurements.ALONE else IN_FLIGHT
        return self._systems.worker("load").run(
            **self._systems.served(case),
            workload=case.workload,
            round_number=round_number,
            stored=stored(case),
            first=first,
            in_flight=in_flight,
            connections=in_flight if over_http else min(in_flight, self._connections),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
            echoes=case.system in measurements.ECHOES,
            authorization=echo.AUTHORIZATION if case.system == measurements.IDENTIFYING_ECHO else "",
        )

    def _run_batches(self, case: Case, round_number: int) -> Sample:
        return self._systems.worker("batch_load").run(
            **self._systems.served(case),
            workload=case.workload,
            round_number=round_number,
            first=messages.first_caller(stored(case)),
            in_flight=BATCHES_IN_FLIGHT,
            connections=min(BATCHES_IN_FLIGHT, self._connections),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )

    def _run_gather(self, case: Case, round_number: int) -> Sample:
        # The first half of the students enroll without ``gather``.
        half = self._callers // 2 if case.workload == measurements.GATHERED else 0
        return self._systems.worker("gather_load").run(
            **self._systems.served(case),
            workload=case.workload,
            round_number=round_number,
            first=messages.first_caller(stored(case)) + half,
            callers=CALLERS,
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )

    def _run_bulk(self, case: Case) -> dict[Case, Sample]:
        """Measure a bulk load, and single calls before it and beside it, in one run."""
        samples = self._systems.worker("bulk_load").run_all(
            **self._systems.served(case), first=messages.first_caller(stored(case)), students=self._pace.bulk
        )
        return by_workload(case, measurements.BULKY, samples)

    def _run_copy(self, case: Case, round_number: int) -> Sample:
        """Measure COPY of the rows of the bulk load, which runs before it."""
        loaded = case._replace(system=measurements.REGISTRAR)
        self.run(loaded, round_number)
        return self._systems.worker("copying").run(
            source=self._systems.store(loaded).url,
            target=self._systems.store(case).url,
            folder=str(self.folder),
            database=self._systems.database,
        )

    def _run_pgbench(self, case: Case, round_number: int) -> Sample:
        program = pgbench.find(self._systems.binaries)
        if program is None:
            raise NotFound("pgbench")
        first = messages.first_caller(stored(case))
        runner = pgbench.Pgbench(
            program, self._systems.store(case).url, self._systems.database, first, self._systems.response_size()
        )
        before = [] if case.workload in self.pgbench_rates else self._try_clients(case.workload, runner)
        rates = self.pgbench_rates[case.workload]
        clients = max(rates, key=rates.__getitem__)
        found = runner.run(Pairing.of(case.workload, round_number), clients, self._pace.warm_up, self._pace.seconds)
        for tried in before:
            found = found.with_changes(tried.changes, tried.failed)
        return found

    def _try_clients(self, workload: str, runner: pgbench.Pgbench) -> Sequence[Sample]:
        """Measure pgbench with each number of clients, once in a run of the bench."""
        tried = runner.try_clients(Pairing.of(workload, ROUNDS), self._pace.seconds)
        self.pgbench_rates[workload] = {clients: sample.calls_per_s for clients, sample in tried.items()}
        return list(tried.values())

    def _run_by_hand(self, case: Case, round_number: int) -> Sample:
        return self._systems.worker("by_hand").run(
            url=self._systems.store(case).url,
            database=self._systems.database_of(case),
            workload=case.workload,
            round_number=round_number,
            stored=stored(case),
            response_size=self._systems.response_size(),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )

    def _run_clients(self, case: Case) -> dict[Case, Sample]:
        """Measure our client and the stub in one run, in which they alternate."""
        server = self._systems.server(Case(case.workload, "", measurements.ECHO))
        both = self._systems.worker("clients").run_all(
            address=server.address, server=server.pid, warm_up=self._pace.warm_up, seconds=self._pace.seconds
        )
        systems = (measurements.OUR_CLIENT, measurements.STUB)
        return {case._replace(system=system): sample for system, sample in zip(systems, both, strict=True)}

    def _run_waitlist(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure enrolling and dropping in one run, since the same students enroll and then drop."""
        samples = self._systems.worker("waitlist_load").run_all(
            **self._systems.served(case),
            round_number=round_number,
            stored=stored(case),
            in_flight=IN_FLIGHT,
            **self._pace.crowd._asdict(),
        )
        return by_workload(case, measurements.WAITLISTED, samples)

    def _run_blocked(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure newcomers at a course with blocked waiters and at a course without waiters in one run."""
        first = messages.first_caller(stored(case))
        samples = self._systems.worker("blocked_load").run_all(
            **self._systems.served(case),
            round_number=round_number,
            first_newcomer=first,
            first_waiter=first + self._callers,
            in_flight=IN_FLIGHT,
            **self._pace.queue._asdict(),
        )
        return by_workload(case, measurements.QUEUED, samples)

    def _run_beside(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure reads, one at a time, and the writes beside them."""
        # The first half of the students enroll in the same courses without reads beside them.
        samples = self._systems.worker("beside_load").run_all(
            **self._systems.served(case),
            round_number=round_number,
            stored=stored(case),
            first=messages.first_caller(stored(case)) + self._callers // 2,
            in_flight=IN_FLIGHT,
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )
        return by_workload(case, measurements.BESIDE, samples)

    def _run_broken(self, case: Case, round_number: int) -> Sample:
        server = self._systems.server(case)
        return self._systems.worker("broken_load").run(
            address=server.address,
            server=server.pid,
            log=str(server.log),
            count=self._pace.broken,
            round_number=round_number,
            in_flight=IN_FLIGHT,
        )
