"""The rules as a caller of the client meets them, on both databases."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from datetime import time as time_of_day

import pytest

from registrar_client import (
    AsyncRegistrarClient,
    CourseNotFound,
    CourseState,
    DropDeadlinePassed,
    DuplicateCourse,
    EnrollmentState,
    ErrorReason,
    EtagMismatch,
    InvalidField,
    Meeting,
    Override,
    ScheduleConflict,
    Weekday,
)
from registrar_server.ledger import ledger
from tests.support.servers import serving

FIRST, LAST = date(2026, 9, 1), date(2026, 12, 18)
MONDAYS = Meeting(weekdays=(Weekday.MONDAY,), start_time=time_of_day(9), end_time=time_of_day(10))


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
async def client(database_url: str, gather: bool) -> AsyncIterator[AsyncRegistrarClient]:
    """A client of a server on each database, with the student s-1."""
    async with serving(database_url) as server, AsyncRegistrarClient(server.address, gather=gather) as registrar:
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
        assert (await client.courses.delete(course_id="c-1", etag=course.etag)).course.course_id == "c-1"


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


def assert_in_order(*times: datetime | None) -> None:
    """Assert that there are all of these times, and that none is before the one that precedes it."""
    known = [one for one in times if one is not None]
    assert len(known) == len(times)
    assert known == sorted(known)


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
            assert_in_order(ended.create_time, ended.end_time, ended.update_time)
        held = await client.students.place_hold(student_id="s-1", code="BURSAR")
        assert_in_order(held.create_time, held.holds[0].place_time, held.update_time)
        student = (await client.students.delete(student_id="s-1")).student
        course = (await client.courses.delete(course_id="c-1")).course
        for gone in (student, course):
            assert_in_order(gone.create_time, gone.delete_time, gone.update_time)
        async for event in client.history.list(course_id="c-1"):
            if event.enrollment:
                assert_in_order(event.enrollment.create_time, event.enrollment.update_time, event.time)


class TestMeetings:
    """Meetings without dates conflict only within a term."""

    async def test_undated_meetings_of_different_terms(self, client: AsyncRegistrarClient) -> None:
        """The same hour in two terms is no conflict, unless both meetings have dates that overlap."""
        await client.courses.create(course_id="fall", term="Fall", meetings=[MONDAYS])
        await client.courses.create(course_id="spring", term="Spring", meetings=[MONDAYS])
        await client.courses.create(course_id="again", term=" fall ", meetings=[replace(MONDAYS, start_date=FIRST)])
        await client.enroll(student_id="s-1", course_id="fall")
        await client.enroll(student_id="s-1", course_id="spring")
        with pytest.raises(ScheduleConflict) as refused:
            await client.enroll(student_id="s-1", course_id="again")
        assert [one.values["conflicting_course_id"] for one in refused.value.violations] == ["fall"]

    async def test_dated_meetings_of_different_terms(self, client: AsyncRegistrarClient) -> None:
        """Meetings that have dates are compared by date, whatever the terms."""
        dated = replace(MONDAYS, start_date=FIRST, end_date=LAST)
        await client.courses.create(course_id="fall", term="Fall", meetings=[dated])
        await client.courses.create(course_id="autumn", term="Autumn", meetings=[dated])
        await client.enroll(student_id="s-1", course_id="fall")
        with pytest.raises(ScheduleConflict):
            await client.enroll(student_id="s-1", course_id="autumn")


class TestCancelledCourses:
    """A cancelled course does not bind its students."""

    @pytest.fixture
    async def seat(self, client: AsyncRegistrarClient) -> None:
        """A seat in c-2, which takes all credits of s-1, meets as c-1 does, and can no longer be dropped."""
        await client.students.update(student_id="s-1", max_credits=3)
        past = datetime(2020, 1, 1, tzinfo=UTC)
        await client.courses.create(course_id="c-1", credits=3, meetings=[MONDAYS])
        await client.courses.create(course_id="c-2", credits=3, meetings=[MONDAYS], drop_deadline_time=past)
        await client.enroll(student_id="s-1", course_id="c-2")

    @pytest.mark.usefixtures("seat")
    async def test_meetings_and_credits_count_for_nothing(self, client: AsyncRegistrarClient) -> None:
        """After c-2 is cancelled, c-1 can be taken; if c-2 is reopened, its meetings and credits count again."""
        with pytest.raises(ScheduleConflict) as refused:
            await client.enroll(student_id="s-1", course_id="c-1")
        assert len(refused.value.violations) == 2
        await client.courses.update(course_id="c-2", state=CourseState.CANCELLED)
        assert (await client.enroll(student_id="s-1", course_id="c-1", validate_only=True)).course_id == "c-1"
        await client.courses.update(course_id="c-2", state=CourseState.OPEN)
        with pytest.raises(ScheduleConflict):
            await client.enroll(student_id="s-1", course_id="c-1")

    @pytest.mark.usefixtures("seat")
    async def test_the_drop_deadline_does_not_apply(self, client: AsyncRegistrarClient) -> None:
        """The seat can be given up by Unenroll and by a swap."""
        with pytest.raises(DropDeadlinePassed):
            await client.unenroll(student_id="s-1", course_id="c-2")
        await client.courses.update(course_id="c-2", state=CourseState.CANCELLED)
        assert (await client.unenroll(student_id="s-1", course_id="c-2", validate_only=True)).enrollment
        swapped = await client.swap(student_id="s-1", from_course_id="c-2", to_course_id="c-1")
        assert (swapped.dropped.state, swapped.dropped.bypassed_rules) == (EnrollmentState.DROPPED, ())


class TestDuplicates:
    """A student has one seat in the courses of the same code, term and component."""

    @pytest.fixture
    async def seat(self, client: AsyncRegistrarClient) -> None:
        """A seat in LEC-1; LEC-2 is another offering, and LAB the lab."""
        for course_id, code, component in (("LEC-1", "CS 101", "LEC"), ("LEC-2", "cs101", "lec"), ("LAB", "CS101", "")):
            await client.courses.create(course_id=course_id, code=code, term="Fall", component=component)
        await client.enroll(student_id="s-1", course_id="LEC-1")

    @pytest.mark.usefixtures("seat")
    async def test_a_second_seat_is_refused(self, client: AsyncRegistrarClient) -> None:
        """Another offering is refused, unless an override names the rule; the lab is another course."""
        with pytest.raises(DuplicateCourse) as refused:
            await client.enroll(student_id="s-1", course_id="LEC-2")
        (violation,) = refused.value.violations
        assert (violation.values["duplicate_course_id"], violation.override_rule) == ("LEC-1", refused.value.reason)
        override = Override(rules=(ErrorReason.DUPLICATE_COURSE,), reason="as a guest")
        seat = await client.enroll(student_id="s-1", course_id="LEC-2", override=override)
        assert seat.bypassed_rules == (ErrorReason.DUPLICATE_COURSE,)
        await client.enroll(student_id="s-1", course_id="LAB")

    @pytest.mark.usefixtures("seat")
    async def test_a_swap_exempts_the_seat_that_it_gives_up(self, client: AsyncRegistrarClient) -> None:
        """One offering can be swapped for another."""
        swapped = await client.swap(student_id="s-1", from_course_id="LEC-1", to_course_id="LEC-2")
        assert swapped.enrollment.state == EnrollmentState.ENROLLED

    @pytest.mark.usefixtures("seat")
    async def test_cancelled_and_deleted_offerings_do_not_count(self, client: AsyncRegistrarClient) -> None:
        """After the offering is cancelled or deleted, another one can be taken."""
        await client.courses.update(course_id="LEC-1", state=CourseState.CANCELLED)
        preview = await client.enroll(student_id="s-1", course_id="LEC-2", validate_only=True)
        assert preview.state == EnrollmentState.ENROLLED
        await client.courses.update(course_id="LEC-1", state=CourseState.OPEN)
        await client.courses.delete(course_id="LEC-1", force=True)
        assert (await client.enroll(student_id="s-1", course_id="LEC-2")).state == EnrollmentState.ENROLLED

    @pytest.mark.usefixtures("seat")
    async def test_a_waiter_who_enrolled_elsewhere_later_is_skipped(self, client: AsyncRegistrarClient) -> None:
        """Waiting is refused to a student with a seat elsewhere, and a waiter who takes one later is skipped."""
        await client.students.create(student_id="s-2")
        await client.courses.update(course_id="LEC-2", capacity=1, waitlist_capacity=5)
        await client.enroll(student_id="s-2", course_id="LEC-2")
        with pytest.raises(DuplicateCourse):
            await client.enroll(student_id="s-1", course_id="LEC-2")
        await client.unenroll(student_id="s-1", course_id="LEC-1")
        waiter = await client.enroll(student_id="s-1", course_id="LEC-2")
        await client.enroll(student_id="s-1", course_id="LEC-1")
        assert (await client.unenroll(student_id="s-2", course_id="LEC-2")).promoted == ()
        kept = await client.get_enrollment(enrollment_id=waiter.enrollment_id)
        assert (kept.state, kept.waitlist_position) == (EnrollmentState.WAITLISTED, 1)
