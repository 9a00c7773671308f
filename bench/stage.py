"""The stage: starts what a case needs on first use, runs the case, and checks the database after it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

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
APART = (measurements.GROWN, measurements.BROKEN)
"""The workloads with a database and a server of their own."""


class Pace(NamedTuple):
    """The seconds of each run, the number of rounds, and the sizes of the workloads that measure no fixed time."""

    warm_up: float
    seconds: float
    rounds: int
    crowd: Crowd
    queue: Queue
    broken: int
    """The number of broken messages."""


class NotFound(Exception):
    """This machine lacks the program that the case measures."""


class Stage:
    """All databases, servers and workers of the bench, running inside a ``with`` block."""

    def __init__(self, pace: Pace, connections: int = 1) -> None:
        self._pace = pace
        self._connections = connections
        self.pgbench_rates: dict[str, dict[int, float]] = {}
        """The calls/s of pgbench with each number of clients, by workload."""
        self._stores: dict[Case, Store] = {}
        self._servers: dict[Case, Server] = {}
        self._workers: dict[str, Worker] = {}
        self._samples: dict[tuple[Case, int], Sample] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="registrar-bench-")))
            self._cluster = stack.enter_context(postgres.Cluster(durable=True))
            # The runs of pgbench start at students far apart.
            self._callers = pgbench.APART * (len(pgbench.CLIENTS) + 1) + int(
                messages.MOST_PER_SECOND * (self._pace.warm_up + self._pace.seconds)
            )
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
        if case.workload in measurements.WAITLISTED:
            return self._run_waitlist(case, round_number)
        if case.workload in measurements.QUEUED:
            return self._run_blocked(case, round_number)
        if case.workload in measurements.BESIDE:
            return self._run_beside(case, round_number)
        if case.workload == measurements.BROKEN:
            return {case: self._run_broken(case, round_number)}
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
        over_http = case.workload in measurements.OVER_HTTP
        # The first half of the students enroll over gRPC.
        first = messages.first_caller(_stored(case)) + (self._callers // 2 if over_http else 0)
        in_flight = 1 if case.workload in measurements.ALONE else IN_FLIGHT
        return self._worker("load").run(
            **self._served(case),
            workload=case.workload,
            round_number=round_number,
            stored=_stored(case),
            first=first,
            in_flight=in_flight,
            connections=in_flight if over_http else min(in_flight, self._connections),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
            echoes=case.system == measurements.ECHO,
        )

    def _run_pgbench(self, case: Case, round_number: int) -> Sample:
        program = pgbench.find(self._cluster.binaries)
        if program is None:
            raise NotFound("pgbench")
        first = messages.first_caller(_stored(case))
        runner = pgbench.Pgbench(program, self._store(case).url, self._cluster.pid, first, self._response_size())
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
        return self._worker("by_hand").run(
            url=self._store(case).url,
            database=self._database_pid(case),
            workload=case.workload,
            round_number=round_number,
            stored=_stored(case),
            response_size=self._response_size(),
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )

    def _run_clients(self, case: Case) -> dict[Case, Sample]:
        """Measure our client and the stub in one run, in which they alternate."""
        server = self._server(Case(case.workload, "", measurements.ECHO))
        both = self._worker("clients").run_all(
            address=server.address, server=server.pid, warm_up=self._pace.warm_up, seconds=self._pace.seconds
        )
        systems = (measurements.OUR_CLIENT, measurements.STUB)
        return {case._replace(system=system): sample for system, sample in zip(systems, both, strict=True)}

    def _run_waitlist(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure enrolling and dropping in one run, since the same students enroll and then drop."""
        samples = self._worker("waitlist_load").run_all(
            **self._served(case),
            round_number=round_number,
            stored=_stored(case),
            in_flight=IN_FLIGHT,
            **self._pace.crowd._asdict(),
        )
        return _by_workload(case, measurements.WAITLISTED, samples)

    def _run_blocked(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure newcomers at a course with blocked waiters and at a course without waiters in one run."""
        first = messages.first_caller(_stored(case))
        samples = self._worker("blocked_load").run_all(
            **self._served(case),
            round_number=round_number,
            first_newcomer=first,
            first_waiter=first + self._callers,
            in_flight=IN_FLIGHT,
            **self._pace.queue._asdict(),
        )
        return _by_workload(case, measurements.QUEUED, samples)

    def _run_beside(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Measure reads, one at a time, and the writes beside them."""
        # The first half of the students enroll in the same courses without reads beside them.
        samples = self._worker("beside_load").run_all(
            **self._served(case),
            round_number=round_number,
            stored=_stored(case),
            first=messages.first_caller(_stored(case)) + self._callers // 2,
            in_flight=IN_FLIGHT,
            warm_up=self._pace.warm_up,
            seconds=self._pace.seconds,
        )
        return _by_workload(case, measurements.BESIDE, samples)

    def _run_broken(self, case: Case, round_number: int) -> Sample:
        server = self._server(case)
        return self._worker("broken_load").run(
            address=server.address,
            server=server.pid,
            log=str(server.log),
            count=self._pace.broken,
            round_number=round_number,
            in_flight=IN_FLIGHT,
        )

    def _served(self, case: Case) -> dict[str, Any]:
        """Return the address of the server of a case, and the processes to measure."""
        server = self._server(case)
        address = server.http_address if case.workload in measurements.OVER_HTTP else server.address
        return {"address": address, "server": server.pid, "database": self._database_pid(case)}

    def _database_pid(self, case: Case) -> int | None:
        """Return the process of the database; SQLite has none."""
        return self._cluster.pid if case.database == "postgresql" else None

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
        if case.system == measurements.STARLETTE:
            return "bench.starlette_by_hand", url
        free_port = "127.0.0.1:0"
        return ("registrar_server", "serve", "--listen", free_port, "--http-listen", free_port, "--database-url", url)

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


def _by_workload(case: Case, workloads: Sequence[str], samples: Sequence[Sample]) -> dict[Case, Sample]:
    return {case._replace(workload=workload): sample for workload, sample in zip(workloads, samples, strict=True)}


def _stored(case: Case) -> int:
    return GROWN if case.workload == measurements.GROWN else STORED


def _of_all_workloads(case: Case) -> Case:
    """Return the key of a system's database and server, which most workloads share."""
    return case._replace(workload=case.workload if case.workload in APART else "")
