"""The rules as a caller of the client meets them, on both databases."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from registrar_client import AsyncRegistrarClient, CourseNotFound, EnrollmentState, EtagMismatch, InvalidField
from registrar_server.ledger import ledger
from tests.support.servers import serving



class Clock:
    """The server's clock, which a test can set back."""

    def __init__(self) -> None:
        self.hours_back = 0

    def time_ns(self) -> int:
        """Return the time, as ``time.time_ns`` does."""
        return time.time_ns() - self.hours_back * 3_600_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the ledgers of this process."""
    clock = Clock()
    monkeypatch.setattr(ledger, "time", clock)
    return clock


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server on each database, with the student s-1."""
    async with serving(database_url) as server, AsyncRegistrarClient(server.address) as registrar:
        await registrar.students.create(student_id="s-1")
        yield registrar


class TestEtags:
    """An etag belongs to one row."""

    async def test_of_an_earlier_attempt(self, client: AsyncRegistrarClient) -> None:
        """The etag of an earlier attempt does not complete the present seat; the seat's own etag does."""
        await client.courses.create(course_id="c-1")
        earlier = await client.enroll(student_id="s-1", course_id="c-1")
        await client.unenroll(student_id="s-1", course_id="c-1")
        seat = await client.enroll(student_id="s-1", course_id="c-1")
        with pytest.raises(EtagMismatch):
            await client.complete(student_id="s-1", course_id="c-1", etag=earlier.etag)
        assert await client.get_enrollment(enrollment_id=seat.enrollment_id) == seat
        done = await client.complete(student_id="s-1", course_id="c-1", etag=seat.etag)
        assert done.state == EnrollmentState.COMPLETED

    async def test_of_another_student_or_course(self, client: AsyncRegistrarClient) -> None:
        """The etag of another student or course in the same version is refused, for updates and for deletions."""
        ada, course = await client.students.create(student_id="ada"), await client.courses.create(course_id="c-1")
        await client.courses.create(course_id="c-2")
        with pytest.raises(EtagMismatch):
            await client.students.update(student_id="s-1", given_name="Grace", etag=ada.etag)
        with pytest.raises(EtagMismatch):
            await client.students.delete(student_id="s-1", etag=ada.etag)
        with pytest.raises(EtagMismatch):
            await client.courses.update(course_id="c-2", title="Computing", etag=course.etag)
        with pytest.raises(EtagMismatch):
            await client.courses.delete(course_id="c-2", etag=course.etag)
        assert (await client.courses.delete(course_id="c-1", etag=course.etag)).course_id == "c-1"


class TestPrerequisites:
    """A new prerequisite is a course that exists or existed."""

    async def test_that_never_existed(self, client: AsyncRegistrarClient) -> None:
        """An id that never existed is refused by name; a deleted course is known."""
        await client.courses.create(course_id="math")
        await client.courses.delete(course_id="math")
        with pytest.raises(CourseNotFound, match='never existed: "art"') as refused:
            await client.courses.create(course_id="c-1", prerequisite_course_ids=["math", "art"])
        assert refused.value.metadata == {"course_id": "art"}
        course = await client.courses.create(course_id="c-1", prerequisite_course_ids=["math"])
        assert course.prerequisite_course_ids == ("math",)

    async def test_itself(self, client: AsyncRegistrarClient) -> None:
        """A course is never its own prerequisite."""
        await client.courses.create(course_id="c-1")
        with pytest.raises(InvalidField) as refused:
            await client.courses.update(course_id="c-1", prerequisite_course_ids=["c-1"])
        (violation,) = refused.value.field_violations
        assert violation.field == "course.prerequisite_course_ids[0]"


class TestTimes:
    """The times of a row never go backwards."""

    async def test_after_the_clock_steps_back(self, clock: Clock, client: AsyncRegistrarClient) -> None:
        """No time of a row, and no time in its history, is before the time of its creation."""
        await client.courses.create(course_id="c-1", capacity=1, waitlist_capacity=1)
        await client.students.create(student_id="s-2")
        await client.enroll(student_id="s-1", course_id="c-1")
        await client.enroll(student_id="s-2", course_id="c-1")
        clock.hours_back = 1
        dropped = (await client.unenroll(student_id="s-1", course_id="c-1")).enrollment
        done = await client.complete(student_id="s-2", course_id="c-1")
        for ended in (dropped, done):
            assert ended is not None
            assert ended.create_time <= ended.end_time == ended.update_time
        held = await client.students.place_hold(student_id="s-1", code="BURSAR")
        assert held.create_time <= held.holds[0].place_time <= held.update_time
        for gone in (await client.students.delete(student_id="s-1"), await client.courses.delete(course_id="c-1")):
            assert gone.create_time <= gone.delete_time == gone.update_time
        async for event in client.history.list(course_id="c-1"):
            if event.enrollment:
                assert event.enrollment.create_time <= event.enrollment.update_time <= event.time
