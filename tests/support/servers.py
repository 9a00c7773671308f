"""Real servers for tests, in the event loop of the test or as a process, and stubs to call them.

The servers listen on free ports and do not read ``.env``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import grpc
import pytest
import structlog

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import CreateCourseRequest, GetCourseRequest
from registrar.v1.course_service_pb2_grpc import CourseServiceStub
from registrar.v1.enrollment_pb2 import Enrollment
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar.v1.history_service_pb2_grpc import HistoryServiceStub
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import CreateStudentRequest
from registrar.v1.student_service_pb2_grpc import StudentServiceStub
from registrar_server.app import Server, start
from registrar_server.ledger.calls import Block, Call, Outcome
from registrar_server.ledger.ledger import Ledger
from registrar_server.rpc.watchers import WATCH_TIMES
from registrar_server.settings import Settings
from tests.support.subprocess_environment import environment_without

if TYPE_CHECKING:
    from registrar.v1.course_service_pb2_grpc import CourseServiceAsyncStub
    from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceAsyncStub
    from registrar.v1.history_service_pb2_grpc import HistoryServiceAsyncStub
    from registrar.v1.student_service_pb2_grpc import StudentServiceAsyncStub

FREE_PORT = "127.0.0.1:0"
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]  # Each channel opens its own connection.


def settings(database_url: str, **others: Any) -> Settings:
    """Return settings for a test server, without those of ``.env``. It sweeps only if a test asks for it."""
    fixed = {"listen": FREE_PORT, "http_listen": "", "database_url": database_url, "settle_interval": 0}
    return Settings(_env_file=None, **{**fixed, **others})


@contextlib.asynccontextmanager
async def serving(database_url: str, **others: Any) -> AsyncIterator[Server]:
    """Run a server in this event loop.

    ``clock`` among ``others`` says how long it remembers its callers, ``times`` what happens how often to streams.
    """
    clock, times = others.pop("clock", time.monotonic), others.pop("times", WATCH_TIMES)
    server = await start(settings(database_url, **others), clock=clock, times=times)
    try:
        yield server
    finally:
        await server.stop(grace=0)


class Registrar(NamedTuple):
    """The stubs of all services over one channel, and the calls that tests make most often."""

    channel: grpc.aio.Channel
    enrollments: EnrollmentServiceAsyncStub
    students: StudentServiceAsyncStub
    courses: CourseServiceAsyncStub
    history: HistoryServiceAsyncStub

    async def add_student(self, student_id: str, **fields: Any) -> Student:
        """Create a student."""
        student = Student(student_id=student_id, **fields)
        return (await self.students.CreateStudent(CreateStudentRequest(student=student))).student

    async def add_course(self, course_id: str, **fields: Any) -> Course:
        """Create a course."""
        course = Course(course_id=course_id, **fields)
        return (await self.courses.CreateCourse(CreateCourseRequest(course=course))).course

    async def enroll(self, student_id: str, course_id: str, **fields: Any) -> Enrollment:
        """Enroll a student in a course."""
        request = EnrollStudentRequest(student_id=student_id, course_id=course_id, **fields)
        return (await self.enrollments.EnrollStudent(request)).enrollment

    async def course(self, course_id: str) -> Course:
        """Read a course."""
        return (await self.courses.GetCourse(GetCourseRequest(course_id=course_id))).course


def over(channel: grpc.aio.Channel) -> Registrar:
    """Return stubs over a channel."""
    return Registrar(
        channel,
        EnrollmentServiceStub(channel),
        StudentServiceStub(channel),
        CourseServiceStub(channel),
        HistoryServiceStub(channel),
    )


@contextlib.asynccontextmanager
async def calling(address: str) -> AsyncIterator[Registrar]:
    """Return stubs over a new connection."""
    async with grpc.aio.insecure_channel(address, OPTIONS) as channel:
        yield over(channel)


@contextlib.asynccontextmanager
async def registrar_on(database_url: str, **others: Any) -> AsyncIterator[Registrar]:
    """Run a server and return stubs to call it."""
    async with serving(database_url, **others) as server, calling(server.address) as registrar:
        yield registrar


class ServerProcess:
    """``registrar-server serve`` as a process, with the log lines that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())
        self.lines: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        """The number of bytes of each of the lines."""
        self.others: list[str] = []
        """The lines on standard error that do not belong to the log."""
        self.ended = False

    async def _read(self) -> None:
        assert self._process.stderr
        rest = b""
        while data := await self._process.stderr.read(65_536):
            *lines, rest = (rest + data).split(b"\n")
            async with self._changed:
                for line in lines:
                    self._take(line)
                self._changed.notify_all()
        async with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        try:
            self.lines.append(json.loads(line))
        except ValueError:
            self.others.append(line.decode())
        else:
            self.sizes.append(len(line))

    async def logged(self, event: str, where: Callable[[dict[str, Any]], bool] = lambda line: True) -> dict[str, Any]:
        """Wait for the first line of an event; fails if the process ends without it."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line.get("event") == event and where(line)]

        async with self._changed:
            await self._changed.wait_for(lambda: found() or self.ended)
        assert found(), f"the process ended without {event}: {self.lines} {self.others}"
        return found()[0]

    async def address(self) -> str:
        """Wait until the server is serving, and return its address."""
        return str((await self.logged("server_started"))["address"])

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the process's group, which it must lead."""
        os.killpg(self.pid, number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait until the process exits and its output is read, and return the exit status."""
        status = await self._process.wait()
        await self._reading
        return status

    async def kill(self) -> None:
        """Kill the process if it is still running."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.wait()


class ServerGroup(ServerProcess):
    """A server in a process group of its own, below a program that started it."""

    async def kill(self) -> None:
        """Kill the whole group."""
        with contextlib.suppress(ProcessLookupError):
            self.signal_group(signal.SIGKILL)
        await self.wait()


def environment(database_url: str, **variables: str) -> dict[str, str]:
    """Return the environment of a server process, with only these settings. It sweeps only if a test asks for it."""
    inherited = environment_without("REGISTRAR_")
    fixed = {"LISTEN": FREE_PORT, "HTTP_LISTEN": "", "LOG_FORMAT": "json", "SETTLE_INTERVAL": "0"}
    chosen = {**fixed, "DATABASE_URL": database_url, **variables}
    return {**inherited, **{f"REGISTRAR_{name}": value for name, value in chosen.items()}}


SERVE = (sys.executable, "-W", "error", "-m", "registrar_server", "serve")


@contextlib.asynccontextmanager
async def server_process(
    database_url: str, folder: Path, *, below: Sequence[str] | None = None, **variables: str
) -> AsyncIterator[ServerProcess]:
    """Run a server process in ``folder``; the names of variables have no prefix.

    ``below`` is a command that starts the server, such as ``("timeout", "60")``, as the leader of a process group; it
    may be empty.
    """
    process = await asyncio.create_subprocess_exec(
        *(*(below or ()), *SERVE),
        cwd=folder,
        env=environment(database_url, **variables),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=below is not None,
    )
    server = ServerProcess(process) if below is None else ServerGroup(process)
    try:
        yield server
    finally:
        await server.kill()


@contextlib.asynccontextmanager
async def server_processes(
    count: int, database_url: str, folder: Path, **variables: str
) -> AsyncIterator[list[ServerProcess]]:
    """Run several server processes on one database, and wait until all are serving."""
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(server_process(database_url, folder, **variables)) for _ in range(count)
        ]
        await asyncio.gather(*(server.address() for server in started))
        yield started


class Gate:
    """Blocks the ledgers of this process while closed: every batch that a lane begins waits.

    A batch waits in the event loop, without blocking it, or in the thread that runs the batch.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.current_thread()
        self._held = asyncio.Semaphore(0)
        self._open_for_loop = asyncio.Event()
        self._open_for_threads = threading.Event()
        self._open()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Block batches within a ``with`` block."""
        self._open_for_loop.clear()
        self._open_for_threads.clear()
        try:
            yield
        finally:
            self._open()

    def _open(self) -> None:
        self._open_for_loop.set()
        self._open_for_threads.set()

    async def holds_one(self) -> None:
        """Wait until one more batch is blocked."""
        await self._held.acquire()

    async def pass_through(self) -> None:
        """Block the batch that awaits this while the gate is closed."""
        if self._open_for_threads.is_set():
            return
        self._loop.call_soon_threadsafe(self._held.release)
        if threading.current_thread() is self._thread:
            await self._open_for_loop.wait()
        else:
            self._open_for_threads.wait()


def gate_before_ledgers(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Add a gate to the ledger of every server that starts in this process from now on."""
    gate = Gate()
    work = Ledger.work

    async def work_behind_gate(self: Ledger, items: Sequence[Call | Block]) -> Sequence[Outcome | list[Outcome]]:
        await gate.pass_through()
        return await work(self, items)

    monkeypatch.setattr(Ledger, "work", work_behind_gate)
    return gate


class Log:
    """The lines that this process logs, as structlog receives them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self.lines: list[dict[str, Any]] = []

    def note(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> NoReturn:
        """Record a line, from any thread, and write nothing."""
        self.lines.append(dict(line))
        self._loop.call_soon_threadsafe(self._more.set)
        raise structlog.DropEvent

    def of(self, event: str, **values: Any) -> list[dict[str, Any]]:
        """Return the lines so far of an event with these values."""
        wanted = {"event": event, **values}
        return [line for line in self.lines if wanted.items() <= line.items()]

    async def one(self, event: str, **values: Any) -> dict[str, Any]:
        """Wait for the first line of an event with these values."""
        return (await self.several(1, event, **values))[0]

    async def several(self, count: int, event: str, **values: Any) -> list[dict[str, Any]]:
        """Wait until there are so many lines of an event with these values."""
        while len(found := self.of(event, **values)) < count:
            self._more.clear()
            await self._more.wait()
        return found
