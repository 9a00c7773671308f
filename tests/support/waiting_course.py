"""A served course that students wait for, and what tests ask about it through the client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

from registrar_client import AsyncRegistrarClient, Enrollment, Event, EventType
from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    Enroll,
    PlaceHold,
    ReleaseHold,
    UpdateCourse,
)
from tests.support.servers import serving


@contextlib.asynccontextmanager
async def waiting_course(database_url: str) -> AsyncIterator[AsyncRegistrarClient]:
    """Return a client of a server with the students s-1 to s-5 and the courses ONE and MANY.

    s-1 has the only seat in ONE; s-2, s-3 and s-4 wait for it, in this order. MANY has unlimited seats.
    """
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as client:
        await client.courses.create(course_id="ONE", capacity=1, waitlist_capacity=9)
        await client.courses.create(course_id="MANY")
        for number in range(1, 6):
            await client.students.create(student_id=f"s-{number}")
        for number in range(1, 5):
            await client.enroll(student_id=f"s-{number}", course_id="ONE")
        yield client


async def free_the_seat(client: AsyncRegistrarClient) -> None:
    """Free the seat in ONE without settling it, and without a completion that counts."""
    done = await client.complete(student_id="s-1", course_id="ONE")
    await client.void_completion(enrollment_id=done.enrollment_id)


async def hold(client: AsyncRegistrarClient, *student_ids: str, code: str = "BURSAR") -> None:
    """Place a hold on each of these students."""
    for student_id in student_ids:
        await client.students.place_hold(student_id=student_id, code=code)


async def release(client: AsyncRegistrarClient, *student_ids: str, code: str = "BURSAR") -> None:
    """Release a hold on each of these students."""
    for student_id in student_ids:
        await client.students.release_hold(student_id=student_id, code=code)


def students(enrollments: Iterable[Enrollment]) -> list[str]:
    """Return the students of these enrollments."""
    return [one.student_id for one in enrollments]


class Standing(NamedTuple):
    """Who has a seat in a course and who waits for it, in the order of the roster."""

    enrolled: list[str]
    waiting: list[str]


async def standing(client: AsyncRegistrarClient, course_id: str = "ONE") -> Standing:
    """Return who has a seat in a course and who waits for it."""
    live = [one.enrollment async for one in client.list_roster(course_id=course_id)]
    return Standing(*([one.student_id for one in live if one.state == state] for state in ("ENROLLED", "WAITLISTED")))


async def last_revision(client: AsyncRegistrarClient) -> int:
    """Return the revision of the newest event."""
    async for event in client.history.list(descending=True, page_size=1):
        return event.revision
    return 0


async def events_after(client: AsyncRegistrarClient, revision: int) -> list[Event]:
    """Return the events after a revision."""
    return [event async for event in client.history.list(after_revision=revision)]


def summaries(events: Iterable[Event]) -> list[tuple[EventType, str]]:
    """Return the type and the student of each event."""
    return [(event.type, event.student_id) for event in events]


def crowd_before_free_seats(course_id: str, student_ids: Sequence[str]) -> list[Command]:
    """Return commands after which students wait for a course with unlimited seats, and nothing refuses them a seat."""
    return [
        CreateCourse(course_id, {"capacity": 0, "waitlist_capacity": len(student_ids)}),
        *map(CreateStudent, student_ids),
        *(Enroll(student_id, course_id) for student_id in student_ids),
        *(PlaceHold(student_id, "BURSAR") for student_id in student_ids),
        UpdateCourse(course_id, {"capacity": None}),
        *(ReleaseHold(student_id, "BURSAR") for student_id in student_ids),
    ]
