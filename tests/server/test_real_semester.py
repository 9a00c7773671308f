"""A whole semester of a real university: every course is created, every seat taken and every seat dropped."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Engine, text

from registrar_client import (
    AsyncRegistrarClient,
    Course,
    CourseFull,
    EnrollmentState,
)
from tests.support.consistency import assert_consistent
from tests.support.semester import TERM, YEAR, Offering, course, needs_semester, read
from tests.support.servers import server_process

CALLS_AT_ONCE = 128

Item = TypeVar("Item")
Result = TypeVar("Result")

pytestmark = [needs_semester, pytest.mark.long]


@pytest.fixture(scope="module")
def offerings() -> list[Offering]:
    """The sections of Fall 2018, as published."""
    return read()


@pytest.fixture
async def registrar(database_url: str, tmp_path: Path) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server process, whose log must not contain warnings, except that the machine is busy."""
    async with server_process(database_url, tmp_path, SLOW_CALL="1m") as server:
        async with AsyncRegistrarClient(await server.address(), timeout=60) as client:
            yield client
        assert {line["level"] for line in server.lines} == {"info"}
        assert not server.others


def seat_holders(offering: Offering) -> list[tuple[str, str]]:
    """Return a student and the course for each seat taken."""
    return [(f"{offering['crn']}-{number:02}", str(offering["crn"])) for number in range(offering["act"])]


async def each(call: Callable[[Item], Awaitable[Result]], items: Iterable[Item]) -> list[Result]:
    """Make a call for every item, with a limited number of concurrent calls."""
    waiting, results = iter(items), []

    async def work() -> None:
        for item in waiting:
            results.append(await call(item))

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLS_AT_ONCE):
            group.create_task(work())
    return results


async def test_the_whole_semester(
    registrar: AsyncRegistrarClient, engine: Engine, offerings: Sequence[Offering]
) -> None:
    """1,519 courses have the 25,595 enrollments of 2018, and all are dropped again."""
    created = await each(lambda offering: registrar.courses.create(**course(offering)), offerings)
    taken = {str(offering["crn"]): offering["act"] for offering in offerings}
    holders = [holder for offering in offerings for holder in seat_holders(offering)]
    random.Random(YEAR).shuffle(holders)
    await each(lambda holder: registrar.students.create(student_id=holder[0]), holders)

    given = await each(lambda holder: registrar.enroll(student_id=holder[0], course_id=holder[1]), holders)
    assert {(one.student_id, one.course_id) for one in given} == set(holders)
    assert {one.state for one in given} == {EnrollmentState.ENROLLED}
    await assert_seats(registrar, created, taken)
    await assert_rosters(registrar, holders, taken)
    await assert_full_courses_refuse(registrar, created, taken)

    dropped = await each(lambda holder: registrar.unenroll(student_id=holder[0], course_id=holder[1]), holders)
    assert {one.enrollment.state for one in dropped if one.enrollment} == {EnrollmentState.DROPPED}
    await assert_seats(registrar, created, Counter())
    assert_events(engine)
    assert_consistent(engine)


async def assert_seats(
    registrar: AsyncRegistrarClient, created: Sequence[Course], taken: dict[str, int] | Counter[str]
) -> None:
    """Get and search return every course as created, with these seats taken."""
    expected = {
        one.course_id: dataclasses.replace(
            one,
            enrolled_count=taken[one.course_id],
            seats_available=(one.capacity or 0) - taken[one.course_id],
        )
        for one in created
    }
    assert len(expected) == 1519
    shown = await each(lambda course_id: registrar.courses.get(course_id=course_id), expected)
    assert {one.course_id: one for one in shown} == expected
    listed = [one async for one in registrar.courses.search(term=TERM, page_size=400)]
    assert listed == [one for _, one in sorted(expected.items())]


async def assert_rosters(
    registrar: AsyncRegistrarClient, holders: Iterable[tuple[str, str]], taken: dict[str, int]
) -> None:
    """Every roster has exactly the students who took a seat."""

    async def roster(course_id: str) -> list[tuple[str, str]]:
        entries = registrar.list_roster(course_id=course_id)
        return [(entry.student.student_id, entry.enrollment.course_id) async for entry in entries]

    rosters = await each(roster, taken)
    assert Counter(holder for found in rosters for holder in found) == Counter(holders)


async def assert_full_courses_refuse(
    registrar: AsyncRegistrarClient, created: Iterable[Course], taken: dict[str, int]
) -> None:
    """A course whose seats are all taken refuses another student."""
    await registrar.students.create(student_id="too-late")
    full = [one.course_id for one in created if one.capacity == taken[one.course_id]]
    assert len(full) > 485

    async def ask(course_id: str) -> str:
        with pytest.raises(CourseFull) as refused:
            await registrar.enroll(student_id="too-late", course_id=course_id)
        return refused.value.violations[0].values["capacity"]

    assert Counter(await each(ask, full)) == Counter(str(taken[course_id]) for course_id in full)


def assert_events(engine: Engine) -> None:
    """The history has one event for each change."""
    with engine.connect() as connection:
        events = Counter(connection.scalars(text("SELECT type FROM events")))
    assert events == {
        "COURSE_CREATED": 1519,
        "STUDENT_CREATED": 25_595 + 1,
        "STUDENT_ENROLLED": 25_595,
        "STUDENT_UNENROLLED": 25_595,
    }
