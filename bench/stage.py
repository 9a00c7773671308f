"""The stage: starts what a case needs on first use, runs the case, and checks the database after it."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

import grpc

from bench import echo, measurements, messages, pgbench
from bench.measurements import Case, Sample
from bench.messages import ROUNDS, STORED, Crowd, Pairing, Queue
from bench.processes import Server, Worker
from bench.stores import Store, Stores
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from tests.support import postgres

GROWN = 1_000_000
IN_FLIGHT = 64
QUEUED = (measurements.UNBLOCKED_ONE, measurements.UNBLOCKED, measurements.BLOCKED_ONE, measurements.BLOCKED)
"""The workloads of newcomers, in the order in which one run measures them."""


class Pace(NamedTuple):
    """The seconds of each run, the number of rounds, the crowd of the waitlisted course, and the blocked queue."""

    warm_up: float
    seconds: float
    rounds: int
    crowd: Crowd
    queue: Queue


class NotFound(Exception):
    """This machine lacks the program that the case measures."""


class Stage:
    """All databases, servers and workers of the bench, running inside a ``with`` block."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._stores: dict[Case, Store] = {}
        self._servers: dict[Case, Server] = {}
        self._workers: dict[str, Worker] = {}
        self._samples: dict[tuple[Case, int], Sample] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="registrar-bench-")))
            self._cluster = stack.enter_context(postgres.Cluster(durable=True))
            # pgbench starts its second run at a student 10,000 further on.
            self._callers = 20_000 + int(messages.MOST_PER_SECOND * (self._pace.warm_up + self._pace.seconds))
            students = self._callers + self._pace.queue.waiters
            self._seeded = Stores(self.folder, self._cluster, students, self._pace.crowd)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def version(self) -> str:
        """Return the version of PostgreSQL."""
        return postgres.version(self._cluster.binaries)

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
        if case.workload in (measurements.WAITLIST_ENROLL, measurements.WAITLIST_DROP):
            return self._run_waitlist(case, round_number)
        if case.workload in QUEUED:
            return self._run_blocked(case, round_number)
        return {case: self._run_load(case, round_number)}

    def _checked(self, found: dict[Case, Sample]) -> dict[Case, Sample]:
        """Add wrong counts in the database after a run as a failure to the last sample."""
        *_, (case, last) = found.items()
        changes = sum(sample.changes for sample in found.values())
        wrong = self._store(case).check(changes) if case.database else ""
        return {**found, case: replace(last, failed={**last.failed, wrong: 1})} if wrong else found

    def verify(self) -> dict[Case, list[str]]:
        """Return the disagreements in each database that Registrar changed."""
        return {
            case: store.disagreements() for case, store in self._stores.items() if case.system == measurements.REGISTRAR
        }

    def _run_load(self, case: Case, round_number: int) -> Sample:
        server = self._server(case)
        return self._worker("load").run(
            address=server.address,
            pid=server.pid,
            workload=case.workload,
            round_number=round_number,
            stored=_stored(case),
            in_flight=1 if case.workload == measurements.ONE else IN_FLIGHT,
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
            echoes=case.system == measurements.ECHO,
        )

    def _run_pgbench(self, case: Case, round_number: int) -> Sample:
        program = pgbench.find(self._cluster.binaries)
        if program is None:
            raise NotFound("pgbench")
        return pgbench.run(
            program,
            self._store(case).url,
            Pairing.of(case.workload, round_number),
            first=messages.first_caller(_stored(case)),
            response_size=self._response_size(),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )

    def _run_by_hand(self, case: Case, round_number: int) -> Sample:
        return self._worker("by_hand").run(
            url=self._store(case).url,
            workload=case.workload,
            round_number=round_number,
            stored=_stored(case),
            response_size=self._response_size(),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )

    def _run_clients(self, case: Case) -> dict[Case, Sample]:
        """Measure our client and the stub in one run, in which they alternate."""
        address = self._server(Case(case.workload, "", measurements.ECHO)).address
        both = self._worker("clients").run_all(address=address, warm_up=self._pace.warm_up, seconds=self._pace.seconds)
        systems = (measurements.OUR_CLIENT, measurements.STUB)
        return {case._replace(system=system): sample for system, sample in zip(systems, both, strict=True)}

    def _run_waitlist(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure enrolling and dropping in one run, since the same students enroll and then drop."""
        server = self._server(case)
        both = self._worker("waitlist_load").run_all(
            address=server.address,
            pid=server.pid,
            round_number=round_number,
            stored=_stored(case),
            in_flight=IN_FLIGHT,
            **self._pace.crowd._asdict(),
        )
        workloads = (measurements.WAITLIST_ENROLL, measurements.WAITLIST_DROP)
        return {case._replace(workload=workload): sample for workload, sample in zip(workloads, both, strict=True)}

    def _run_blocked(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure newcomers at a course with blocked waiters and at a course without waiters in one run."""
        server = self._server(case)
        first = messages.first_caller(_stored(case))
        samples = self._worker("blocked_load").run_all(
            address=server.address,
            pid=server.pid,
            round_number=round_number,
            first_newcomer=first,
            first_waiter=first + self._callers,
            in_flight=IN_FLIGHT,
            **self._pace.queue._asdict(),
        )
        return {case._replace(workload=workload): sample for workload, sample in zip(QUEUED, samples, strict=True)}

    def _worker(self, module: str) -> Worker:
        if module not in self._workers:
            self._workers[module] = self._stack.enter_context(Worker(module))
        return self._workers[module]

    def _store(self, case: Case) -> Store:
        key = _of_all_workloads(case)
        if key not in self._stores:
            self._stores[key] = self._seeded.make(case.database, _stored(case))
        return self._stores[key]

    def _server(self, case: Case) -> Server:
        key = _of_all_workloads(case)
        if key not in self._servers:
            name = "-".join(filter(None, key)).replace(" ", "_").replace(",", "")
            self._servers[key] = self._stack.enter_context(Server(self.folder, name, *self._arguments(case)))
        return self._servers[key]

    def _arguments(self, case: Case) -> tuple[str, ...]:
        if case.system == measurements.ECHO:
            self._prepare_echo()
            return "bench.echo", str(self.folder)
        url = self._store(case).url
        if case.system == measurements.ORM:
            return "bench.orm", url
        return "registrar_server", "serve", "--listen", "127.0.0.1:0", "--database-url", url

    def _response_size(self) -> int:
        self._prepare_echo()
        return (self.folder / echo.ENROLLED_FILE).stat().st_size

    def _prepare_echo(self) -> None:
        """Record two responses of Registrar, so that the baselines return real messages."""
        file = self.folder / echo.ENROLLED_FILE
        if file.exists():
            return
        case = Case(measurements.HOT, "sqlite", measurements.REGISTRAR)
        with grpc.insecure_channel(self._server(case).address) as channel:
            stub = EnrollmentServiceStub(channel)
            request = next(messages.enrollments(Pairing("HOT-", ROUNDS, 0, 1), messages.first_caller(STORED)))
            enrolled = stub.EnrollStudent(request, wait_for_ready=True)
            listed = stub.ListCourses(pb.ListCoursesRequest(student_id=messages.student_id(0)))
        file.write_bytes(enrolled.SerializeToString())
        (self.folder / echo.LISTED_FILE).write_bytes(listed.SerializeToString())
        self._store(case).check(changes=1)

    def sync_ms(self, times: int = 50) -> float:
        """Return how long one fsync of a page takes here, which is the least that a commit takes."""
        file = os.open(self.folder / "sync", os.O_WRONLY | os.O_CREAT)
        begun = time.perf_counter()
        for _ in range(times):
            os.write(file, b"\0" * 8192)
            os.fsync(file)
        took = time.perf_counter() - begun
        os.close(file)
        return took / times * 1000


def _stored(case: Case) -> int:
    return GROWN if case.workload == measurements.GROWN else STORED


def _of_all_workloads(case: Case) -> Case:
    """Return the key of a system's database and server: all workloads share them, except the one with more rows."""
    return case._replace(workload=measurements.GROWN if case.workload == measurements.GROWN else "")
