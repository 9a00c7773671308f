"""Calls on their way through handlers, intake and queues: what callers and the log get, whoever leaves and whenever.

Handlers, intake, twins and lanes are real. The test ends each batch of the ledger, so every moment can be held.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from registrar.v1 import enrollment_service_pb2 as pb
from registrar_server import stopwatch
from registrar_server.core.records import Event
from registrar_server.core.vocabulary import EventType
from registrar_server.errors import Reason, Refusal, database_unavailable, unwrap
from registrar_server.identity.identity import Identity
from registrar_server.ledger.batching import Batcher, Lanes, Limits
from registrar_server.ledger.calls import Answer, Call, Outcome
from registrar_server.ledger.previews import Previews
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.rpc.batches import Batches
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.endpoint import QUIET_TURNS, Context, Endpoints, Entrance, Intake
from registrar_server.rpc.methods import LookupPlan
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.table import METHODS
from registrar_server.rpc.twins import Twins
from tests.support.garbage import Garbage
from tests.support.servers import Log

PATIENCE_S = 10
"""After this long, what should have happened at once is taken for missing."""
ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
SERVICE = METHODS["registrar.v1.EnrollmentService"]
EVENT = Event("e-1", EventType.STUDENT_ENROLLED, 1, "", "", student_id="s-1", course_id="c-1", enrollment_id="en-1")
DONE = Answer(pb.EnrollStudentResponse().SerializeToString(), (EVENT,), pb.EnrollStudentResponse())
LIST = pb.ListCoursesRequest(student_id="s-1")

Running = asyncio.Task[bytes]


def full() -> Refusal:
    return Refusal(Reason.COURSE_FULL, "full")


def enroll(student_id: str = "s-1", request_id: str = "") -> pb.EnrollStudentRequest:
    return pb.EnrollStudentRequest(student_id=student_id, course_id="c-1", request_id=request_id)


class Refused(Exception):
    """A call that was ended with a status."""


class Caller:
    """The caller of a call, as gRPC's context describes it."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        """The time until the deadline."""

    def peer(self) -> str:
        return "test:1"

    def time_remaining(self) -> float | None:
        return self.seconds

    async def abort_with_status(self, status: Any) -> None:
        raise Refused(status.code.name)


class Office:
    """A server without gRPC and a database, whose lane has batches of two calls and room for two more."""

    def __init__(self, slow_call: float = 60) -> None:
        self._begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self._ends: asyncio.Queue[Sequence[Outcome] | Exception] = asyncio.Queue()
        self._over = False
        self.now = 0.0
        limits = Limits(max_batch=2, max_waiting=2)
        self.lanes = Lanes[Call, Answer]([Batcher(self._run, limits, clock=self._clock)], key=lambda _call: "")
        self.lookups = Batcher[LookupPlan, Answer](self._look_up, limits)
        twins = Twins(self.lanes, 2, clock=self._clock)
        nothing: Any = None  # Single calls need no more of the batches than that they make way.
        self.dispatcher = Dispatcher(
            twins,
            Batches(twins, nothing, nothing, nothing, nothing, nothing),
            self.lookups,
            cast("Previews", None),
            cast("PackedReads", None),
            QueryThreads(1, 1),
        )
        entrance = Entrance(Intake(self.dispatcher.open_all), nothing, Identity([], is_on=False))
        self._endpoints = Endpoints(entrance, slow_call)

    def _clock(self) -> float:
        return self.now

    async def _run(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        stopwatch.enter("locked")
        self._begun.put_nowait([cast("Any", call.command).student_id for call in calls])
        # An error in a variable of this frame would be a circle.
        return unwrap([] if self._over else await self._ends.get())

    async def _look_up(self, plans: Sequence[LookupPlan]) -> Sequence[Outcome]:
        return [Answer(b"", message=pb.ListCoursesResponse()) for _ in plans]

    async def begun(self) -> list[str]:
        """Wait until a batch of changes begins, and return its students."""
        return await asyncio.wait_for(self._begun.get(), PATIENCE_S)

    def end(self, *outcomes: Outcome) -> None:
        """End a batch with these outcomes."""
        self._ends.put_nowait(outcomes)

    def end_all(self) -> None:
        """End this batch and every later one, so that a test that fails does not hang."""
        self._over = True
        self._ends.put_nowait([])

    def crash(self, error: Exception) -> None:
        """End a batch with an error of the ledger itself."""
        self._ends.put_nowait(error)

    def call(self, request: Any, caller: Caller | None = None) -> Running:
        """Begin a call."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        method = SERVICE["ListCourses" if isinstance(request, pb.ListCoursesRequest) else "EnrollStudent"]
        context = cast("Context", caller or Caller())
        return asyncio.ensure_future(self._endpoints.handler(method).handle((), data, context))

    async def close(self) -> None:
        """Wait until everything that has begun is over."""
        await self.lanes.close()
        await self.lookups.close()


async def left(running: Running) -> None:
    """Let the caller of a call leave."""
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def code(running: Running) -> str:
    """Return the name of the status of a call."""
    try:
        await asyncio.wait_for(running, PATIENCE_S)
    except Refused as refused:
        return str(refused)
    return "OK"


async def codes(calls: Sequence[Running]) -> list[str]:
    return [await code(one) for one in calls]


def lines(log: Log) -> list[str]:
    """Return the statuses of the lines of calls."""
    return [line["status"] for line in log.of("rpc")]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    office = Office()
    yield office
    office.end_all()
    await office.close()


@pytest.fixture
async def slow_office() -> AsyncIterator[Office]:
    """An office to which every call is slow."""
    office = Office(slow_call=-1)
    yield office
    office.end_all()
    await office.close()


class TestEnds:
    """Each way in which a call can end."""

    async def test_an_answer(self, office: Office, log: Log) -> None:
        """The caller gets the bytes. The log gets the event, and then the call."""
        running = office.call(enroll())
        office.end(DONE)
        assert await running == DONE.response
        assert [line["event"] for line in log.lines] == ["student_enrolled", "rpc"]
        (line,) = log.of("rpc")
        assert (line["method"], line["status"], line["student_id"], line["course_id"], line["peer"]) == (
            *("EnrollStudent", "OK", "s-1", "c-1"),
            "test:1",
        )

    async def test_a_refusal(self, office: Office, log: Log) -> None:
        """It affects no other call of the batch, and has a line of its own besides that of the call."""
        calls = [office.call(enroll("s-1")), office.call(enroll("s-2"))]
        assert await office.begun() == ["s-1", "s-2"]
        office.end(full(), DONE)
        assert await codes(calls) == ["FAILED_PRECONDITION", "OK"]
        assert [line["student_id"] for line in log.of("enrollment_refused")] == ["s-1"]

    async def test_a_refusal_of_a_full_lane(self, office: Office, log: Log) -> None:
        """A refused enrollment has this line too if no lane took it."""
        first = office.call(enroll())
        await office.begun()
        waiting = [office.call(enroll()) for _ in range(3)]
        assert await code(waiting.pop()) == "RESOURCE_EXHAUSTED"
        assert [line["reasons"] for line in log.of("enrollment_refused")] == [["OVERLOADED"]]
        assert lines(log) == ["RESOURCE_EXHAUSTED"]
        office.end(DONE)
        office.end(DONE, DONE)
        assert await codes([first, *waiting]) == ["OK"] * 3

    async def test_bytes_that_are_no_message(self, office: Office) -> None:
        """They do not affect the calls that are opened together with them."""
        calls = [office.call(enroll("s-1")), office.call(b"\xff"), office.call(enroll("s-2"))]
        assert await office.begun() == ["s-1", "s-2"]
        office.end(DONE, DONE)
        assert await codes(calls) == ["OK", "INVALID_ARGUMENT", "OK"]

    async def test_a_crash(self, office: Office, log: Log) -> None:
        """Every call of the batch ends with the id of one crash."""
        calls = [office.call(enroll()), office.call(enroll())]
        office.crash(RuntimeError("broken"))
        assert await codes(calls) == ["INTERNAL"] * 2
        (crash,) = log.of("rpc_crashed")
        assert [line["error_id"] for line in log.of("rpc")] == [crash["error_id"]] * 2

    async def test_a_line_that_cannot_be_logged(
        self, office: Office, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every caller gets the answer nevertheless, and the failure is reported."""
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["message"]))
        caller = Caller()
        monkeypatch.setattr(caller, "peer", _fail)
        calls = [office.call(enroll(), caller), office.call(b"\xff", caller), office.call(enroll())]
        assert await office.begun() == ["s-1", "s-1"]
        office.end(DONE, DONE)
        assert await codes(calls) == ["OK", "INVALID_ARGUMENT", "OK"]
        assert failures == ["a receiver of an outcome failed"] * 2
        assert lines(log) == ["OK"]


def _fail() -> None:
    raise ValueError("broken")


class TestDeadlines:
    """A deadline that passes on the server."""

    @pytest.mark.parametrize("request_id", ["", ID], ids=["alone", "twin"])
    async def test_before_the_call_is_opened(self, office: Office, log: Log, request_id: str) -> None:
        """A call whose time is over when the intake opens it never begins, whatever it asks."""
        caller = Caller(seconds=60)
        running = office.call(enroll(request_id=request_id), caller)
        reading = office.call(LIST, caller)
        caller.seconds = 0
        assert await codes([running, reading]) == ["DEADLINE_EXCEEDED"] * 2
        assert lines(log) == ["DEADLINE_EXCEEDED"] * 2

    async def test_of_a_twin_before_it_is_opened(self, office: Office) -> None:
        """A repeated call without any time left does not wait for the first attempt."""
        first = office.call(enroll(request_id=ID))
        await office.begun()
        assert await code(office.call(enroll(request_id=ID), Caller(seconds=0))) == "DEADLINE_EXCEEDED"
        office.end(DONE)
        assert await code(first) == "OK"

    async def test_while_the_call_waits(self, office: Office, log: Log) -> None:
        """It never begins."""
        first = office.call(enroll())
        await office.begun()
        waiting = office.call(enroll("s-2"), Caller(seconds=1))
        await _some_turns()
        office.now += 1
        office.end(DONE)
        assert await codes([first, waiting]) == ["OK", "DEADLINE_EXCEEDED"]
        assert [line["student_id"] for line in log.of("rpc", status="DEADLINE_EXCEEDED")] == ["s-2"]


class TestLeaving:
    """A caller leaves. The call has one line, and the events of its change have theirs in any case."""

    async def test_before_the_call_is_opened(self, office: Office, log: Log) -> None:
        """The call never begins. Its line has no ids, since nobody has read the request."""
        running = office.call(enroll())
        await asyncio.sleep(0)
        await left(running)
        other = office.call(enroll("s-2"))
        assert await office.begun() == ["s-2"]
        office.end(DONE)
        await other
        cancelled, _ = log.of("rpc")
        assert cancelled["status"] == "CANCELLED"
        assert "student_id" not in cancelled

    async def test_while_it_waits(self, office: Office, log: Log) -> None:
        """The call never begins, and its line names what it asked for."""
        first = office.call(enroll())
        await office.begun()
        waiting, last = office.call(enroll("s-2")), office.call(enroll("s-3"))
        await _some_turns()
        await left(waiting)
        office.end(DONE)
        assert await office.begun() == ["s-3"]
        office.end(DONE)
        assert await codes([first, last]) == ["OK", "OK"]
        assert [line["student_id"] for line in log.of("rpc", status="CANCELLED")] == ["s-2"]

    @pytest.mark.parametrize(("seconds", "status"), [(None, "CANCELLED"), (9, "CANCELLED"), (0, "DEADLINE_EXCEEDED")])
    async def test_while_its_batch_runs(self, office: Office, log: Log, seconds: float | None, status: str) -> None:
        """The change is made, and its events are logged after the line of the call."""
        caller = Caller(seconds=60)
        running = office.call(enroll(), caller)
        await office.begun()
        caller.seconds = seconds
        await left(running)
        office.end(DONE)
        await office.close()
        assert [line["event"] for line in log.lines] == ["rpc", "student_enrolled"]
        assert lines(log) == [status]

    async def test_while_its_batch_is_refused(self, office: Office, log: Log) -> None:
        """A refusal that nobody waits for has its line too, and the call has no second one."""
        running = office.call(enroll())
        await office.begun()
        await left(running)
        office.end(full())
        await office.close()
        assert [line["event"] for line in log.lines] == ["rpc", "enrollment_refused"]
        assert lines(log) == ["CANCELLED"]

    async def test_while_its_twin_waits(self, office: Office, log: Log) -> None:
        """The twin gets the answer, and the events are logged once."""
        first = office.call(enroll(request_id=ID))
        await office.begun()
        twin = office.call(enroll(request_id=ID))
        await _some_turns()
        await left(first)
        office.end(DONE)
        assert await twin == DONE.response
        assert lines(log) == ["CANCELLED", "OK"]
        assert len(log.of("student_enrolled")) == 1

    @pytest.mark.parametrize("order", ["call first", "twin first"])
    async def test_at_the_moment_of_the_outcome(self, office: Office, log: Log, order: str) -> None:
        """Each call has one line, and the events are logged once, whoever of two twins leaves at this moment."""
        twins = [office.call(enroll(request_id=ID)) for _ in range(2)]
        await office.begun()
        asyncio.get_running_loop().call_soon(twins[order == "twin first"].cancel)
        office.end(DONE)
        await asyncio.wait(twins)
        assert len(log.of("student_enrolled")) == 1
        assert len(lines(log)) == 2

    async def test_all_of_them(self, office: Office, log: Log) -> None:
        """Nobody waits for the outcome of several twins: the events are logged nevertheless."""
        twins = [office.call(enroll(request_id=ID)) for _ in range(3)]
        await office.begun()
        await _some_turns()
        for twin in twins:
            await left(twin)
        office.end(DONE)
        await office.close()
        assert lines(log) == ["CANCELLED"] * 3
        assert len(log.of("student_enrolled")) == 1


class TestSlowCalls:
    """The line of a slow call says where its time went."""

    @staticmethod
    def parts(line: dict[str, Any]) -> list[str]:
        """Return the names of the parts; together they are the time of the call."""
        names = [name for name in line if name.endswith("_ms") and name != "duration_ms"]
        assert sum(line[name] for name in names) == pytest.approx(line["duration_ms"], abs=0.01)
        return names

    async def test_a_change(self, slow_office: Office, log: Log) -> None:
        """The call waited, and its batch worked for it."""
        running = slow_office.call(enroll())
        slow_office.end(DONE)
        await running
        (line,) = log.of("rpc")
        assert self.parts(line) == ["waited_ms", "locked_ms", "database_ms", "packed_ms"]
        assert line["locked_ms"] > 0

    async def test_a_call_that_shares_an_answer(self, slow_office: Office, log: Log) -> None:
        """A twin only waited. The work belongs to the call that was carried out."""
        twins = [slow_office.call(enroll(request_id=ID)) for _ in range(2)]
        slow_office.end(DONE)
        await asyncio.gather(*twins)
        first, second = log.of("rpc")
        assert "locked_ms" in first
        assert self.parts(second) == ["waited_ms"]

    async def test_a_call_that_never_began(self, slow_office: Office, log: Log) -> None:
        """What an earlier batch did is no part of it, whether it expired, was refused, or was left."""
        first = slow_office.call(enroll())
        await slow_office.begun()
        expired, gone = slow_office.call(enroll(), Caller(seconds=1)), slow_office.call(enroll())
        refused = slow_office.call(enroll())
        assert await code(refused) == "RESOURCE_EXHAUSTED"
        await left(gone)
        slow_office.now += 1
        slow_office.end(DONE)
        assert await codes([first, expired]) == ["OK", "DEADLINE_EXCEEDED"]
        of_others = [line for line in log.of("rpc") if line["status"] != "OK"]
        assert [self.parts(line) for line in of_others] == [["waited_ms"]] * 3

    async def test_a_caller_that_left_while_its_batch_ran(self, slow_office: Office, log: Log) -> None:
        """The work so far counts."""
        running = slow_office.call(enroll())
        await slow_office.begun()
        await left(running)
        slow_office.end(DONE)
        (line,) = log.of("rpc")
        assert line["locked_ms"] > 0


@pytest.mark.usefixtures("log")
class TestMemory:
    """A call that is over leaves no circle of objects that would keep its request."""

    @pytest.mark.parametrize(
        "outcome",
        [DONE, full(), database_unavailable(uncertain=True), TimeoutError(), RuntimeError("broken")],
        ids=lambda outcome: type(outcome).__name__,
    )
    @pytest.mark.parametrize("request_id", ["", ID], ids=["alone", "twins"])
    async def test_each_end(self, office: Office, garbage: Garbage, outcome: Outcome, request_id: str) -> None:
        twins = [office.call(enroll(request_id=request_id)) for _ in range(2)]
        for _ in twins:
            office.end(*[outcome] * (1 if request_id else 2))
        await asyncio.wait(twins)
        await office.close()
        del twins
        assert garbage() == []

    async def test_a_crash_and_broken_bytes(self, office: Office, garbage: Garbage) -> None:
        calls = [office.call(enroll()), office.call(enroll()), office.call(b"\xff"), office.call(LIST)]
        office.crash(full())
        await asyncio.wait(calls)
        del calls
        assert garbage() == []

    @pytest.mark.parametrize("request_id", ["", ID], ids=["alone", "twins"])
    @pytest.mark.parametrize("begins", [True, False])
    async def test_leaving(self, office: Office, garbage: Garbage, request_id: str, begins: bool) -> None:
        calls = [office.call(enroll(request_id=request_id)) for _ in range(2)]
        if begins:
            await office.begun()
        else:
            await asyncio.sleep(0)
        for one in calls:
            await left(one)
        office.end(*[DONE] * (1 if request_id else 2))
        await office.close()
        del calls, one
        assert garbage() == []


async def _some_turns() -> None:
    """Let the calls of this turn pass through the intake."""
    for _ in range(QUIET_TURNS + 4):
        await asyncio.sleep(0)
