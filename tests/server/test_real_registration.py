"""Registration day in a real semester: students request courses, and get what the rules allow.

Many students call at once, so the test reads the order of their requests from the history. Then it repeats them in this
order on a short model that has no batches, locks or queries.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Engine

from registrar_client import (
    AsyncRegistrarClient,
    EnrollmentState,
    Event,
    EventType,
    FailedPrecondition,
    Meeting,
    Weekday,
)
from tests.support import semester
from tests.support.consistency import assert_consistent
from tests.support.servers import server_process

SEED = 2018
STUDENTS = 900
WISHES = 7
POPULAR = 150
MAX_CREDITS = Decimal("15")
CALLS_AT_ONCE = 96

pytestmark = semester.needs_semester


class Section(NamedTuple):
    """The facts about a course that the model needs."""

    course_id: str
    code: str
    seats: int
    credits: Decimal
    hours: frozenset[tuple[dt.date, int]]
    """Every minute of every day in which the course meets."""


class Request(NamedTuple):
    """A call of a student and its result: a state, the reasons of a refusal, and the students a drop promoted."""

    kind: str
    student_id: str
    course_id: str
    request_id: str
    state: str
    reasons: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()


@dataclass
class Campus:
    """The model: the students of each course, its waitlist, and the courses of each student."""

    sections: dict[str, Section]
    taken: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    waiting: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    plans: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def obstacles(self, student_id: str, course_id: str) -> set[str]:
        """Return the rules that refuse the student, apart from the number of seats."""
        wanted = self.sections[course_id]
        mine = [self.sections[other] for other in self.plans[student_id] if other != course_id]
        found = {"SCHEDULE_CONFLICT"} if any(other.hours & wanted.hours for other in mine) else set()
        if any(other.code == wanted.code for other in mine):
            found.add("DUPLICATE_COURSE")
        if sum(other.credits for other in mine) + wanted.credits > MAX_CREDITS:
            found.add("CREDIT_LIMIT_EXCEEDED")
        return found

    def check(self, refused: Iterable[Request]) -> None:
        """Assert that refusals have the expected reasons."""
        for one in refused:
            assert set(one.reasons) == self.obstacles(one.student_id, one.course_id)

    def settle(self, course_id: str) -> list[str]:
        """Promote waiting students to free seats in their order, and return them."""
        promoted = []
        for student_id in list(self.waiting[course_id]):
            is_free = len(self.taken[course_id]) < self.sections[course_id].seats
            if is_free and not self.obstacles(student_id, course_id):
                self.waiting[course_id].remove(student_id)
                self.seat(student_id, course_id)
                promoted.append(student_id)
        return promoted

    def seat(self, student_id: str, course_id: str) -> None:
        """Give the student a seat."""
        self.taken[course_id].append(student_id)
        self.plans[student_id].add(course_id)

    def enroll(self, student_id: str, course_id: str) -> str:
        """Enroll the student or put them on the waitlist, and return the state."""
        assert not self.obstacles(student_id, course_id)
        self.settle(course_id)
        if len(self.taken[course_id]) < self.sections[course_id].seats:
            self.seat(student_id, course_id)
            return "ENROLLED"
        self.waiting[course_id].append(student_id)
        return "WAITLISTED"

    def drop(self, student_id: str, course_id: str) -> list[str]:
        """Drop the student from the course or its waitlist, and return the promoted students."""
        if student_id in self.waiting[course_id]:
            self.waiting[course_id].remove(student_id)
            return []
        self.taken[course_id].remove(student_id)
        self.plans[student_id].remove(course_id)
        return self.settle(course_id)


def hours(meetings: Iterable[Meeting]) -> frozenset[tuple[dt.date, int]]:
    """Return every minute of every day in which one of the meetings takes place."""
    found = set()
    for meeting in meetings:
        if meeting.start_time is None or meeting.end_time is None or meeting.start_date is None:
            continue
        assert meeting.end_date is not None
        days = [meeting.start_date + dt.timedelta(days=day) for day in range(200)]
        names = [Weekday(list(Weekday)[day.weekday()]) for day in days]
        start, end = (time.hour * 60 + time.minute for time in (meeting.start_time, meeting.end_time))
        found |= {
            (day, minute)
            for day, name in zip(days, names, strict=True)
            if day <= meeting.end_date and name in meeting.weekdays
            for minute in range(start, end)
        }
    return frozenset(found)


@pytest.fixture(scope="module")
def sections() -> dict[str, Section]:
    """The most popular sections with a third of their seats, because there are a third as many students."""
    popular = sorted(semester.read(), key=lambda offering: (-offering["act"], offering["crn"]))[:POPULAR]
    found = {}
    for offering in popular:
        course = semester.course(offering)
        seats = max(1, course["capacity"] // 3)
        names = course["course_id"], course["code"]
        found[course["course_id"]] = Section(*names, seats, course["credits"], hours(course["meetings"]))
    return found


@pytest.fixture(params=[False, True], ids=["plain", "gathering"])
async def registrar(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, sections: dict[str, Section]
) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server process, on which the courses and students exist."""
    async with (
        server_process(database_url, tmp_path) as server,
        AsyncRegistrarClient(await server.address(), timeout=60, gather=request.param) as client,
    ):
        for offering in semester.read():
            course = semester.course(offering)
            if course["course_id"] in sections:
                seats = sections[course["course_id"]].seats
                await client.courses.create(**{**course, "capacity": seats, "waitlist_capacity": 1000})
        await asyncio.gather(
            *(client.students.create(student_id=name, max_credits=MAX_CREDITS) for name in wishes(sections))
        )
        yield client


def wishes(sections: dict[str, Section]) -> dict[str, list[str]]:
    """Return the courses that each student requests, in this order; the first sections are the most popular."""
    random_ = random.Random(SEED)
    names = list(sections)
    weights = [1 / (rank + 20) for rank in range(len(names))]
    return {
        f"student-{number:04}": list(dict.fromkeys(random_.choices(names, weights, k=WISHES)))
        for number in range(STUDENTS)
    }


class Crowd:
    """All students at once, with a limited number of concurrent calls; each student makes one call after another."""

    def __init__(self, registrar: AsyncRegistrarClient) -> None:
        self._registrar = registrar
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        self._ids = random.Random(SEED)
        self.made: list[Request] = []

    async def register(self, student_id: str, courses: Sequence[str]) -> None:
        """Request one course after another."""
        for course_id in courses:
            request_id = str(UUID(int=self._ids.getrandbits(128)))
            asked = ("enroll", student_id, course_id, request_id)
            try:
                async with self._turns:
                    given = await self._registrar.enroll(
                        student_id=student_id, course_id=course_id, request_id=request_id
                    )
                self.made.append(Request(*asked, given.state))
            except FailedPrecondition as refusal:
                reasons = tuple(violation.reason for violation in refusal.violations)
                self.made.append(Request(*asked, "refused", reasons))

    async def drop(self, student_id: str, course_id: str) -> None:
        """Drop a course."""
        request_id = str(UUID(int=self._ids.getrandbits(128)))
        async with self._turns:
            done = await self._registrar.unenroll(student_id=student_id, course_id=course_id, request_id=request_id)
        promoted = tuple(one.student_id for one in done.promoted)
        self.made.append(Request("drop", student_id, course_id, request_id, "DROPPED", (), promoted))


async def test_registration_day(registrar: AsyncRegistrarClient, engine: Engine, sections: dict[str, Section]) -> None:
    """Seats, waitlists and promotions are those of the model, and keep every rule."""
    wanted = wishes(sections)
    crowd = Crowd(registrar)
    await asyncio.gather(*(crowd.register(student_id, courses) for student_id, courses in wanted.items()))
    got = [one for one in crowd.made if one.state != "refused"]
    assert {one.state for one in got} == {"ENROLLED", "WAITLISTED"}
    leavers = random.Random(SEED).sample([one for one in got if one.state == "ENROLLED"], len(got) // 8)
    await asyncio.gather(*(crowd.drop(one.student_id, one.course_id) for one in leavers))
    events = [event async for event in registrar.history.list(page_size=1000)]
    campus = replay(sections, crowd.made, events)
    assert any(event.type is EventType.STUDENT_PROMOTED for event in events)
    assert any(event.type is EventType.PROMOTION_SKIPPED for event in events)
    await assert_as_modelled(registrar, campus, wanted)
    assert_consistent(engine)


def replay(sections: dict[str, Section], made: Sequence[Request], events: Iterable[Event]) -> Campus:
    """Repeat the requests on the model, in the order of the history.

    The history contains no refusals. Each refusal is checked after the last request of its student that succeeded:
    until the drops begin, only the student's own requests change which rules refuse the student.
    """
    campus = Campus(sections)
    by_id = {one.request_id: one for one in made if one.state != "refused"}
    in_order = [by_id[key] for key in dict.fromkeys(event.request_id for event in events) if key in by_id]
    assert len(in_order) == len(by_id)
    refused: defaultdict[str, list[Request]] = defaultdict(list)
    last: dict[str, str] = {}
    for one in made:
        if one.state == "refused":
            refused[last.get(one.student_id, "")].append(one)
        else:
            last[one.student_id] = one.request_id
    campus.check(refused[""])
    for one in in_order:
        if one.kind == "enroll":
            assert campus.enroll(one.student_id, one.course_id) == one.state
        else:
            assert campus.drop(one.student_id, one.course_id) == list(one.promoted)
        campus.check(refused[one.request_id])
    return campus


async def assert_as_modelled(registrar: AsyncRegistrarClient, campus: Campus, wanted: dict[str, list[str]]) -> None:
    """Rosters match the seats and waitlists of the model, and the courses of each student keep every rule."""
    for course_id, section in campus.sections.items():
        roster = [entry async for entry in registrar.list_roster(course_id=course_id, page_size=1000)]
        seated = {entry.student.student_id for entry in roster if entry.enrollment.state is EnrollmentState.ENROLLED}
        assert seated == set(campus.taken[course_id])
        assert len(seated) <= section.seats
        queue = [entry for entry in roster if entry.enrollment.state is EnrollmentState.WAITLISTED]
        assert [entry.student.student_id for entry in queue] == campus.waiting[course_id]
        assert [entry.enrollment.waitlist_position for entry in queue] == list(range(1, len(queue) + 1))
    for student_id in wanted:
        mine = [campus.sections[course_id] for course_id in campus.plans[student_id]]
        assert sum(len(one.hours) for one in mine) == len(frozenset[object]().union(*(one.hours for one in mine)))
        assert sum(one.credits for one in mine) <= MAX_CREDITS
        assert len({one.code for one in mine}) == len(mine)
