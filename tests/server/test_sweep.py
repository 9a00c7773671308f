"""A free seat finds its eligible waiter: what no call settles, the next sweep of a real server does.

The tests sweep by a call, or wait for the history. No test waits for a time to pass.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from registrar.v1.course_service_pb2 import SettleCourseRequest
from registrar_client import AsyncRegistrarClient, CourseState, Event, EventType, Meeting, StudentState, Weekday
from registrar_server.app import Server, start
from registrar_server.ledger.sweeping import Swept
from tests.support.consistency import assert_consistent
from tests.support.outages import database_outage
from tests.support.servers import Log, calling, server_process, serving, settings

PROMOTED, SKIPPED = EventType.STUDENT_PROMOTED, EventType.PROMOTION_SKIPPED
MONDAYS = [Meeting(weekdays=[Weekday.MONDAY], start_time=dt.time(9), end_time=dt.time(10))]
NOTHING = Swept(0, 0)


class Campus(NamedTuple):
    """A server that sweeps only when a test calls it, and a client.

    Students s-1 to s-4; CS-101 with one seat, which s-1 has, and a waitlist on which s-2 is the first. CS-102 meets at
    the same time and has seats for all.
    """

    server: Server
    client: AsyncRegistrarClient

    async def sweep(self) -> Swept:
        """Run one round of the sweep."""
        return await self.server.sweep()

    async def events(self, type: EventType, course_id: str = "CS-101") -> list[Event]:
        """Return the events of a type in a course."""
        return [event async for event in self.client.history.list(course_id=course_id, types=[type])]

    async def promotions(self) -> list[tuple[str, str]]:
        """Return the student and the actor of each promotion in CS-101."""
        return [(event.student_id, event.actor) for event in await self.events(PROMOTED)]

    async def free_the_seat(self, student_id: str = "s-1") -> None:
        """Unenroll a student, which settles CS-101 and promotes nobody."""
        assert not (await self.client.unenroll(student_id=student_id, course_id="CS-101")).promoted


@pytest.fixture
async def campus(database_url: str, engine: Engine) -> AsyncIterator[Campus]:
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        for number in range(1, 5):
            await client.students.create(student_id=f"s-{number}", max_credits=3)
        for course_id, seats in (("CS-101", 1), ("CS-102", 9)):
            await client.courses.create(
                course_id=course_id, capacity=seats, waitlist_capacity=5, meetings=MONDAYS, credits=3, term="Fall"
            )
        for number in (1, 2):
            await client.enroll(student_id=f"s-{number}", course_id="CS-101")
        yield Campus(server, client)
        assert_consistent(engine)


Step = Callable[[Campus], Awaitable[object]]


class Obstacle(NamedTuple):
    """What keeps s-2 from the free seat in CS-101, and the change that removes it."""

    name: str
    arises: Step
    ends: Step


OBSTACLES = (
    Obstacle(
        "a released hold",
        lambda campus: campus.client.students.place_hold(student_id="s-2", code="BURSAR"),
        lambda campus: campus.client.students.release_hold(student_id="s-2", code="BURSAR"),
    ),
    Obstacle(
        "a dropped conflict",
        lambda campus: campus.client.enroll(student_id="s-2", course_id="CS-102"),
        lambda campus: campus.client.unenroll(student_id="s-2", course_id="CS-102"),
    ),
    Obstacle(
        "a completed conflict",
        lambda campus: campus.client.enroll(student_id="s-2", course_id="CS-102"),
        lambda campus: campus.client.complete(student_id="s-2", course_id="CS-102"),
    ),
    Obstacle(
        "a cancelled conflict",
        lambda campus: campus.client.enroll(student_id="s-2", course_id="CS-102"),
        lambda campus: campus.client.courses.update(course_id="CS-102", state=CourseState.CANCELLED),
    ),
    Obstacle(
        "a raised max_credits",
        lambda campus: campus.client.students.update(student_id="s-2", max_credits=2),
        lambda campus: campus.client.students.update(student_id="s-2", max_credits=3),
    ),
    Obstacle(
        "a student who is active again",
        lambda campus: campus.client.students.update(student_id="s-2", state=StudentState.INACTIVE),
        lambda campus: campus.client.students.update(student_id="s-2", state=StudentState.ACTIVE),
    ),
    Obstacle(
        "a prerequisite from elsewhere",
        lambda campus: campus.client.courses.update(course_id="CS-101", prerequisite_course_ids=["CS-102"]),
        lambda campus: campus.client.record_completion(student_id="s-2", course_id="CS-102"),
    ),
)


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.name)
async def test_the_next_sweep_promotes_the_waiter_whose_obstacle_is_gone(campus: Campus, obstacle: Obstacle) -> None:
    await obstacle.arises(campus)
    await campus.free_the_seat()
    assert await campus.sweep() == NOTHING
    await obstacle.ends(campus)
    assert await campus.promotions() == []
    assert await campus.sweep() == Swept(courses=1, promoted=1)
    assert await campus.promotions() == [("s-2", "system:sweep")]
    assert await campus.sweep() == NOTHING


async def test_a_sweep_goes_through_the_queue_in_order_and_skips_who_is_not_eligible(campus: Campus) -> None:
    for student_id in ("s-3", "s-4"):
        await campus.client.enroll(student_id=student_id, course_id="CS-101")
        await campus.client.students.place_hold(student_id=student_id, code="BURSAR")
    await campus.client.students.place_hold(student_id="s-2", code="BURSAR")
    await campus.free_the_seat()
    for student_id in ("s-4", "s-3"):
        await campus.client.students.release_hold(student_id=student_id, code="BURSAR")
    await campus.client.students.place_hold(student_id="s-2", code="LIBRARY")
    assert await campus.sweep() == Swept(courses=1, promoted=1)
    assert await campus.promotions() == [("s-3", "system:sweep")]
    skips = await campus.events(SKIPPED)
    assert [event.student_id for event in skips if event.actor] == ["s-2"]
    assert skips[-1].actor == "system:sweep"


async def test_the_history_can_be_filtered_by_the_sweep(campus: Campus) -> None:
    await leave_an_eligible_waiter(campus)
    await campus.sweep()
    found = [event async for event in campus.client.history.list(actor="system:sweep")]
    assert [(event.type, event.student_id, event.request_id) for event in found] == [(PROMOTED, "s-2", "")]


async def test_a_window_that_opens_because_time_passes_promotes_the_waiter(campus: Campus) -> None:
    """While the window is closed, a seat becomes free. The sweep gives it when the window is open again."""
    opens = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.5)
    await campus.client.courses.update(course_id="CS-101", enroll_open_time=opens)
    await campus.free_the_seat()
    swept = [await campus.sweep()]
    while not swept[-1].promoted:
        swept.append(await campus.sweep())
    assert swept[0] == NOTHING
    assert await campus.promotions() == [("s-2", "system:sweep")]
    (promotion,) = await campus.events(PROMOTED)
    assert promotion.time >= opens


@pytest.mark.parametrize(
    ("closed", "open_again"),
    [
        ({"state": CourseState.CANCELLED}, {"state": CourseState.OPEN}),
        (
            {"enroll_close_time": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)},
            {"enroll_close_time": dt.datetime(2999, 1, 1, tzinfo=dt.UTC)},
        ),
    ],
    ids=["cancelled", "closed"],
)
async def test_a_course_that_is_reopened_promotes_at_once_and_leaves_nothing_to_the_sweep(
    campus: Campus, closed: dict[str, object], open_again: dict[str, object]
) -> None:
    update: Callable[..., Awaitable[object]] = campus.client.courses.update
    await update(course_id="CS-101", **closed)
    await campus.free_the_seat()
    assert await campus.sweep() == NOTHING
    await update(course_id="CS-101", **open_again)
    assert await campus.promotions() == [("s-2", "")]
    assert await campus.sweep() == NOTHING


class TestFinishedCourses:
    """Seats that students have completed are not given by the sweep."""

    async def test_a_finished_course_promotes_nobody(self, campus: Campus) -> None:
        await campus.client.complete(student_id="s-1", course_id="CS-101")
        assert await campus.sweep() == NOTHING
        assert await campus.promotions() == []

    async def test_settle_course_promotes_for_a_finished_course(self, campus: Campus) -> None:
        await campus.client.complete(student_id="s-1", course_id="CS-101")
        async with calling(campus.server.address) as registrar:
            settled = await registrar.courses.SettleCourse(SettleCourseRequest(course_id="CS-101"))
        assert [enrollment.student_id for enrollment in settled.promoted] == ["s-2"]
        assert await campus.promotions() == [("s-2", "")]

    async def test_only_the_seats_beyond_the_completed_ones_are_given(self, campus: Campus) -> None:
        """Of three seats, one is completed and one taken, so the sweep gives the third to the first waiter only."""
        client = campus.client
        for student_id in ("s-3", "s-4"):
            await client.enroll(student_id=student_id, course_id="CS-101")
        for student_id in ("s-2", "s-3"):
            await client.students.place_hold(student_id=student_id, code="BURSAR")
        await client.courses.update(course_id="CS-101", capacity=3)  # s-4 gets a seat.
        await client.complete(student_id="s-1", course_id="CS-101")
        for student_id in ("s-2", "s-3"):
            await client.students.release_hold(student_id=student_id, code="BURSAR")
        assert await campus.sweep() == Swept(courses=1, promoted=1)
        assert await campus.promotions() == [("s-4", ""), ("s-2", "system:sweep")]

    async def test_a_void_completion_frees_its_seat_for_the_sweep(self, campus: Campus) -> None:
        """Voiding promotes nobody by itself."""
        done = await campus.client.complete(student_id="s-1", course_id="CS-101")
        await campus.client.void_completion(enrollment_id=done.enrollment_id)
        assert await campus.promotions() == []
        assert await campus.sweep() == Swept(courses=1, promoted=1)
        assert await campus.promotions() == [("s-2", "system:sweep")]


async def leave_an_eligible_waiter(campus: Campus, student_id: str = "s-2", *, behind: str = "s-1") -> None:
    """Leave an eligible waiter of CS-101 and the free seat of the student ``behind`` whom the waiter waited."""
    await campus.client.students.place_hold(student_id=student_id, code="BURSAR")
    await campus.free_the_seat(behind)
    await campus.client.students.release_hold(student_id=student_id, code="BURSAR")


class TestRepetition:
    """A server sweeps at its start and then at the interval."""

    async def test_by_itself(self, campus: Campus, database_url: str) -> None:
        """A server with an interval promotes without being asked."""
        async with serving(database_url, settle_interval=0.1):
            await leave_an_eligible_waiter(campus)
            await until_promoted(campus)
        assert await campus.promotions() == [("s-2", "system:sweep")]

    async def test_as_a_process(self, campus: Campus, database_url: str, tmp_path: Path) -> None:
        """A process logs each promotion, and one line for the round."""
        await leave_an_eligible_waiter(campus)
        async with server_process(database_url, tmp_path, SETTLE_INTERVAL="100ms") as server:
            line = await server.logged("courses_settled")
            assert (line["level"], line["courses"], line["promoted"]) == ("info", 1, 1)
            promoted = await server.logged("student_promoted")
            assert (promoted["student_id"], promoted["course_id"]) == ("s-2", "CS-101")

    async def test_off(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the interval 0 a server never sweeps, not even at its start as others do."""
        swept: list[Server] = []
        begun = asyncio.Event()

        async def sweep(server: Server) -> None:
            swept.append(server)
            begun.set()

        monkeypatch.setattr(Server, "sweep", sweep)
        async with serving(database_url, settle_interval=0), serving(database_url, settle_interval=0.1) as other:
            await begun.wait()
        assert set(swept) == {other}

    async def test_an_outage(self, campus: Campus, database_url: str, request: pytest.FixtureRequest, log: Log) -> None:
        """A database that cannot be reached is reported as lost and back, and the repetition goes on."""
        async with asyncio.timeout(30), serving(database_url, settle_interval=0.1):
            await leave_an_eligible_waiter(campus)
            await log.one("courses_settled")
            with database_outage(database_url, request):
                lost = await log.one("database_lost")
            await log.one("database_back")
            await campus.client.enroll(student_id="s-3", course_id="CS-101")
            await leave_an_eligible_waiter(campus, "s-3", behind="s-2")
            await log.one("student_promoted", student_id="s-3")
        assert lost["work"] == "reading"

    async def test_stopping(self, campus: Campus, database_url: str, log: Log) -> None:
        """A server that stops during a round ends it cleanly, and logs no failure."""
        for number in range(5):
            server = await start(settings(database_url, settle_interval=0.1))
            for _ in range(number):
                await asyncio.sleep(0)
            assert await server.stop(grace=0)
        assert not [line for line in log.lines if line["level"] in ("warning", "error")]


async def until_promoted(campus: Campus) -> None:
    """Read the history until it has a promotion."""
    async with asyncio.timeout(30):
        while not await campus.promotions():
            pass


async def test_two_servers_that_sweep_at_once_promote_each_waiter_once(campus: Campus, database_url: str) -> None:
    """In 30 courses an eligible waiter faces a free seat. Both servers sweep them at the same time."""
    client = campus.client
    courses = [f"X-{number:02}" for number in range(30)]
    await client.students.update(student_id="s-2", max_credits=None)
    await client.students.place_hold(student_id="s-3", code="BURSAR")
    for course_id in courses:
        await client.courses.create(course_id=course_id, capacity=1, waitlist_capacity=5)
        for student_id in ("s-1", "s-2"):
            await client.enroll(student_id=student_id, course_id=course_id)
    await client.students.place_hold(student_id="s-2", code="BURSAR")
    for course_id in courses:
        await client.unenroll(student_id="s-1", course_id=course_id)
    await client.students.release_hold(student_id="s-2", code="BURSAR")
    async with serving(database_url) as other:
        both = await asyncio.gather(campus.sweep(), other.sweep())
    assert sum(swept.promoted for swept in both) == 30
    promotions = [event async for event in client.history.list(types=[PROMOTED])]
    assert sorted(event.course_id for event in promotions) == courses
    assert {(event.student_id, event.actor) for event in promotions} == {("s-2", "system:sweep")}


async def test_the_sweep_of_a_course_is_logged_as_a_call_of_another_caller_is(campus: Campus, log: Log) -> None:
    await leave_an_eligible_waiter(campus)
    log.lines.clear()
    await campus.sweep()
    (enrollment,) = [event.enrollment async for event in campus.client.history.list(actor="system:sweep")]
    assert enrollment
    ids = {"student_id": "s-2", "course_id": "CS-101", "enrollment_id": enrollment.enrollment_id}
    assert [line for line in log.lines if line["event"] != "rpc"] == [
        {"event": "student_promoted", "level": "info", "actor": "system:sweep", **ids},
        {"event": "courses_settled", "level": "info", "courses": 1, "promoted": 1},
    ]
