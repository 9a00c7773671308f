"""The systems that are measured: starts the database, the server and the worker of a case on first use."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import grpc

from bench import echo, measurements, messages
from bench.measurements import Case
from bench.messages import ROUNDS, STORED, Crowd, Pairing
from bench.processes import Server, Worker
from bench.stores import Store, Stores
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from tests.support import postgres

GROWN = 1_000_000
BATCHES_IN_FLIGHT = 4
APART = {
    measurements.GROWN: measurements.GROWN,
    measurements.BROKEN: measurements.BROKEN,
    # Single calls enroll the same students in the same courses.
    measurements.BATCH_HOT: "batches",
    measurements.BATCH_MANY: "batches",
    **dict.fromkeys(measurements.GATHERING, "batches"),
    **dict.fromkeys(measurements.BULKY, "bulk"),
    **dict.fromkeys(measurements.WATCHING, "watched"),
}
"""The workloads that do not share the database and the server of most others, and the names of theirs."""


class Systems:
    """All databases, servers and workers of the bench, running inside a ``with`` block.

    Args:
        callers: the number of students without courses in each database.
        crowd: the sizes of the waitlisted courses.
    """

    def __init__(self, callers: int, crowd: Crowd) -> None:
        self._callers = callers
        self._crowd = crowd
        self._stores: dict[Case, Store] = {}
        self._servers: dict[Case, Server] = {}
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="registrar-bench-")))
            self._cluster = stack.enter_context(postgres.Cluster(durable=True))
            self._seeded = Stores(self.folder, self._cluster, self._callers, self._crowd)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    @property
    def binaries(self) -> Path:
        """The folder with the programs of PostgreSQL."""
        return self._cluster.binaries

    @property
    def database(self) -> int:
        """The id of the first process of PostgreSQL."""
        return self._cluster.pid

    @property
    def changed(self) -> dict[Case, Store]:
        """The databases that Registrar changed."""
        return {case: store for case, store in self._stores.items() if case.system == measurements.REGISTRAR}

    def served(self, case: Case) -> dict[str, Any]:
        """Return the address of the server of a case, and the processes to measure."""
        server = self.server(case)
        address = server.http_address if case.workload in measurements.OVER_HTTP else server.address
        return {"address": address, "server": server.pid, "database": self.database_of(case)}

    def database_of(self, case: Case) -> int | None:
        """Return the first process of the database of a case; SQLite has none."""
        return self.database if case.database == "postgresql" else None

    def worker(self, module: str) -> Worker:
        """Return the worker that runs a module of the bench."""
        if module not in self._workers:
            self._workers[module] = self._stack.enter_context(Worker(module))
        return self._workers[module]

    def store(self, case: Case) -> Store:
        """Return the database of a case."""
        key = _of_all_workloads(case)
        if key not in self._stores:
            self._stores[key] = self._seeded.make(case.database, stored(case))
        return self._stores[key]

    def server(self, case: Case) -> Server:
        """Return the server of a case."""
        key = _of_all_workloads(case)
        if key not in self._servers:
            self._servers[key] = self._stack.enter_context(Server(self.folder, _name(key), *self._arguments(case)))
        return self._servers[key]

    def another_server(self, case: Case) -> Server:
        """Return a new server on the same database, which runs inside a ``with`` block."""
        return Server(self.folder, f"{_name(_of_all_workloads(case))}-another", *self._arguments(case))

    def _arguments(self, case: Case) -> tuple[str, ...]:
        if case.system in measurements.ECHOES:
            self._prepare_echo()
            return "bench.echo", str(self.folder), *(["identify"] if case.system != measurements.ECHO else [])
        url = self.store(case).url
        if case.system == measurements.ORM:
            return "bench.orm", url
        if case.system == measurements.STARLETTE:
            return "bench.starlette_by_hand", url
        free_port = "127.0.0.1:0"
        return ("registrar_server", "serve", "--listen", free_port, "--http-listen", free_port, "--database-url", url)

    def response_size(self) -> int:
        """Return the bytes of a response to EnrollStudent."""
        self._prepare_echo()
        return (self.folder / echo.ENROLLED_FILE).stat().st_size

    def _prepare_echo(self) -> None:
        """Record two responses of Registrar, so that the baselines return real messages."""
        file = self.folder / echo.ENROLLED_FILE
        if file.exists():
            return
        case = Case(measurements.HOT, "sqlite", measurements.REGISTRAR)
        with grpc.insecure_channel(self.server(case).address) as channel:
            stub = EnrollmentServiceStub(channel)
            request = next(messages.enrollments(Pairing("HOT-", ROUNDS, 0, 1), messages.first_caller(STORED)))
            enrolled = stub.EnrollStudent(request, wait_for_ready=True)
            listed = stub.ListCourses(pb.ListCoursesRequest(student_id=messages.student_id(0)))
        file.write_bytes(enrolled.SerializeToString())
        (self.folder / echo.LISTED_FILE).write_bytes(listed.SerializeToString())
        self.store(case).check(changes=1)


def stored(case: Case) -> int:
    """Return the number of enrollments that the database of a case has at first."""
    return GROWN if case.workload == measurements.GROWN else STORED


def _of_all_workloads(case: Case) -> Case:
    """Return the key of a system's database and server, which most workloads share."""
    return case._replace(workload=APART.get(case.workload, ""))


def _name(key: Case) -> str:
    return "-".join(filter(None, key)).replace(" ", "_").replace(",", "")
