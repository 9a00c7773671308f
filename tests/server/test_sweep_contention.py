"""Two servers that sweep all the time beside many callers for a few courses: no deadlock, and nobody is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from sqlalchemy import create_engine

from registrar.v1.course_service_pb2 import SettleCourseRequest
from registrar_client import AsyncRegistrarClient, CourseState, ErrorReason, Meeting, Override, RegistrarError, Weekday
from registrar_server.ledger.sweeping import Swept
from tests.support.consistency import assert_consistent
from tests.support.databases import execute
from tests.support.postgres import free_port
from tests.support.properties import scaled
from tests.support.refusals import Failure
from tests.support.servers import Registrar, calling, server_process, serving

SECONDS = 4
AT_MOST_S = 60
CALLERS = 64
COURSES = [f"C-{number}" for number in range(12)]
HOT = 3
"""How many courses the callers call for at the same time."""
HOT_S = 0.5
"""After so many seconds they turn to the next courses, and the others are left to the sweep."""
STUDENTS = [f"s-{number:02}" for number in range(48)]
MONDAYS = [Meeting(weekdays=[Weekday.MONDAY], start_time=dt.time(9), end_time=dt.time(10))]
OUT_OF_TURN = Override(rules=[ErrorReason.COURSE_FULL], reason="Chosen.")


UNSETTLED = {"CONTENTION", "OVERLOADED", "DATABASE_UNAVAILABLE", "SHUTTING_DOWN", "None", ""}
"""The reasons of a call that the client's retries did not settle; None is the reason of a failure without one."""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
EVENTS_OF_THE_SWEEP = "SELECT count(*) FROM events WHERE actor = 'system:sweep'"


def hot_courses() -> list[str]:
    """Return the courses that the callers call for now."""
    first = int(time.monotonic() / HOT_S) * HOT % len(COURSES)
    return COURSES[first : first + HOT]


class Caller(NamedTuple):
    """A caller with a connection and chances of its own; ``completed`` has the completions of all callers."""

    registrar: Registrar
    client: AsyncRegistrarClient
    chance: random.Random
    completed: list[str]

    def student(self) -> str:
        return self.chance.choice(STUDENTS)

    def course(self) -> str:
        return self.chance.choice(hot_courses())

    async def enroll(self) -> None:
        override = OUT_OF_TURN if self.chance.random() < 0.05 else None
        await self.client.enroll(student_id=self.student(), course_id=self.course(), override=override)

    async def unenroll(self) -> None:
        await self.client.unenroll(student_id=self.student(), course_id=self.course())

    async def swap(self) -> None:
        origin, target = self.chance.sample(hot_courses(), 2)
        await self.client.swap(student_id=self.student(), from_course_id=origin, to_course_id=target)

    async def place_hold(self) -> None:
        await self.client.students.place_hold(student_id=self.student(), code="BURSAR")

    async def release_hold(self) -> None:
        await self.client.students.release_hold(student_id=self.student(), code="BURSAR")

    async def complete(self) -> None:
        done = await self.client.complete(student_id=self.student(), course_id=self.course())
        self.completed.append(done.enrollment_id)

    async def void(self) -> None:
        if self.completed:
            await self.client.void_completion(enrollment_id=self.completed.pop())

    async def change_credits(self) -> None:
        limit = self.chance.choice([6, 9, 12])
        await self.client.students.update(student_id=self.student(), max_credits=limit)

    async def change_capacity(self) -> None:
        await self.client.courses.update(course_id=self.course(), capacity=self.chance.randint(4, 10))

    async def change_state(self) -> None:
        state = self.chance.choice([CourseState.OPEN] * 4 + [CourseState.CANCELLED])
        await self.client.courses.update(course_id=self.course(), state=state)

    async def change_window(self) -> None:
        opens = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self.chance.uniform(-0.3, 0.3))
        await self.client.courses.update(course_id=self.course(), enroll_open_time=opens)

    async def settle(self) -> None:
        await self.registrar.courses.SettleCourse(SettleCourseRequest(course_id=self.course()))


WEIGHTS: dict[Callable[[Caller], Awaitable[None]], int] = {
    Caller.enroll: 16,
    Caller.unenroll: 8,
    Caller.swap: 6,
    Caller.place_hold: 4,
    Caller.release_hold: 6,
    Caller.complete: 2,
    Caller.void: 2,
    Caller.change_credits: 3,
    Caller.change_capacity: 2,
    Caller.change_state: 1,
    Caller.change_window: 1,
    Caller.settle: 2,
}


async def outcome(call: Awaitable[object]) -> str:
    """Return the reason of a refusal, or OK."""
    try:
        await call
    except RegistrarError as refusal:
        return str(refusal.reason)
    except grpc.aio.AioRpcError as error:
        return Failure.read(error).reason
    return "OK"


async def found_campus(client: AsyncRegistrarClient) -> None:
    """Create the students and the courses, half of which conflict, and let the students fill them and wait."""
    for student_id in STUDENTS:
        await client.students.create(student_id=student_id, max_credits=9)
    for number, course_id in enumerate(COURSES):
        await client.courses.create(
            course_id=course_id,
            capacity=6,
            waitlist_capacity=40,
            credits=3,
            term="Fall",
            meetings=MONDAYS if number % 2 else (),
        )
    for number, student_id in enumerate(STUDENTS):
        for course_id in COURSES[number % len(COURSES) :][:4]:
            await outcome(client.enroll(student_id=student_id, course_id=course_id))


async def call_for(seconds: float, addresses: Sequence[str], has_swept: Callable[[], Awaitable[bool]]) -> Counter[str]:
    """Let all callers call the servers for some seconds, and longer on a busy machine, until a sweep has had an effect.

    Returns how often each outcome occurred.
    """
    outcomes: Counter[str] = Counter()
    completed: list[str] = []

    async def call_repeatedly(caller: Caller) -> None:
        calls, weights = list(WEIGHTS), list(WEIGHTS.values())
        begun = time.monotonic()
        while (spent := time.monotonic() - begun) < seconds or (spent < AT_MOST_S and not await has_swept()):
            (call,) = caller.chance.choices(calls, weights)
            outcomes[await outcome(call(caller))] += 1

    async with AsyncExitStack() as stack:
        callers = []
        for number in range(CALLERS):
            registrar = await stack.enter_async_context(calling(addresses[number % len(addresses)]))
            await registrar.channel.channel_ready()
            client = await stack.enter_async_context(AsyncRegistrarClient(channel=registrar.channel))
            callers.append(Caller(registrar, client, random.Random(number), completed))
        await found_campus(callers[0].client)
        await asyncio.gather(*map(call_repeatedly, callers))
    return outcomes


async def has_swept(database_url: str) -> bool:
    """Return whether the history has an event of a sweep."""
    return await asyncio.to_thread(execute, database_url, EVENTS_OF_THE_SWEEP) != [(0,)]


@contextlib.asynccontextmanager
async def sweeping_servers(database_url: str, folder: Path) -> AsyncIterator[list[str]]:
    """Run two server processes that sweep as often as they can, and return their addresses."""
    # At the level of warnings a server does not log its address, so it gets one.
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    async with AsyncExitStack() as stack:
        for address in addresses:
            often = {"LISTEN": address, "LOG_LEVEL": "warning", "SETTLE_INTERVAL": "100ms"}
            await stack.enter_async_context(server_process(database_url, folder, **often))
        yield addresses


@pytest.mark.long
async def test_two_servers_that_sweep_beside_64_callers_never_deadlock_and_leave_no_eligible_waiter(
    postgresql_url: str, tmp_path: Path
) -> None:
    async with sweeping_servers(postgresql_url, tmp_path) as addresses:
        outcomes = await call_for(scaled(SECONDS), addresses, partial(has_swept, postgresql_url))
    assert outcomes["OK"] > 100
    assert not outcomes.keys() & UNSETTLED
    assert execute(postgresql_url, DEADLOCKS) == [(0,)]
    assert await has_swept(postgresql_url)
    await assert_nobody_is_left_behind(postgresql_url)
    engine = create_engine(postgresql_url)
    assert_consistent(engine)
    engine.dispose()


async def assert_nobody_is_left_behind(database_url: str) -> None:
    """Sweep a last time, and assert that no course has a seat for the sweep and a waiter who could have it."""
    async with serving(database_url) as server, calling(server.address) as registrar:
        await server.sweep()
        assert await server.sweep() == Swept(0, 0)
        for course_id in COURSES:
            course = await registrar.course(course_id)
            if course.capacity > course.enrolled_count + course.completed_count:
                settle = SettleCourseRequest(course_id=course_id, validate_only=True)
                assert not (await registrar.courses.SettleCourse(settle)).promoted, course
