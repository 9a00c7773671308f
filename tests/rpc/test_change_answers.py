"""What changes answer beyond their own resource: the enrollments that they promoted and dropped, cut and counted."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from registrar.v1.course_pb2 import Course, Meeting
from registrar.v1.course_service_pb2 import DeleteCourseRequest, UpdateCourseRequest
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED as DROPPED
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED as ENROLLED
from registrar.v1.enrollment_service_pb2 import SwapEnrollmentRequest, UnenrollRequest
from registrar.v1.student_service_pb2 import DeleteStudentRequest, GetStudentRequest, PlaceHoldRequest
from registrar_client import AsyncRegistrarClient, InvalidField
from registrar_server.core.commands import (
    Command,
    CreateCourse,
    CreateStudent,
    Enroll,
    PlaceHold,
    ReleaseHold,
    UpdateCourse,
)
from tests.support.ledgers import carry_out_on
from tests.support.refusals import refused
from tests.support.servers import Registrar, calling, registrar_on, serving

SMALLEST_MESSAGE = 262_144
"""The smallest limit of messages that the settings allow."""
LARGE = "\U0001d50a"
"""A character of four bytes."""


def students_of(enrollments: Iterable[Any]) -> list[tuple[str, str]]:
    return [(one.student_id, one.course_id) for one in enrollments]


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[tuple[Registrar, AsyncRegistrarClient]]:
    """Stubs and a client of one server. ONE and TWO have one seat each, which s-1 has; s-2 waits for both, then s-3."""
    async with (
        serving(database_url) as server,
        calling(server.address) as registrar,
        AsyncRegistrarClient(server.address) as client,
    ):
        for student_id in ("s-1", "s-2", "s-3"):
            await registrar.add_student(student_id)
        for course_id in ("ONE", "TWO"):
            await registrar.add_course(course_id, capacity=1, waitlist_capacity=5)
            for student_id in ("s-1", "s-2", "s-3"):
                await registrar.enroll(student_id, course_id)
        yield registrar, client


Served = tuple[Registrar, AsyncRegistrarClient]


class TestAnswers:
    """UpdateCourse, DeleteStudent and DeleteCourse list the enrollments that they promoted and dropped."""

    async def test_update_course_answers_with_promoted(self, served: Served) -> None:
        """More seats promote waiters, who are listed in the order of the queue as they are now."""
        registrar, client = served
        request = UpdateCourseRequest(course=Course(course_id="ONE", capacity=3))
        answer = await registrar.courses.UpdateCourse(request)
        assert students_of(answer.promoted) == [("s-2", "ONE"), ("s-3", "ONE")]
        assert {(one.state, one.waitlist_position) for one in answer.promoted} == {(ENROLLED, 0)}
        assert (answer.promoted_count, answer.course.enrolled_count) == (2, 3)
        updated = await client.courses.update(course_id="TWO", capacity=2)
        assert (students_of(updated.promoted), updated.promoted_count) == ([("s-2", "TWO")], 1)
        assert updated.course.enrolled_count == 2

    async def test_update_course_without_promotions(self, served: Served) -> None:
        """An update that promotes no student lists nothing."""
        _, client = served
        updated = await client.courses.update(course_id="ONE", title="Intro")
        assert (updated.course.title, updated.promoted, updated.promoted_count) == ("Intro", (), 0)

    async def test_delete_student_answers_with_dropped_and_promoted(self, served: Served) -> None:
        """A deletion by force lists the student's enrollments, and those that got the seats, both by course."""
        _, client = served
        deleted = await client.students.delete(student_id="s-1", force=True)
        assert deleted.student.delete_time is not None
        assert students_of(deleted.dropped) == [("s-1", "ONE"), ("s-1", "TWO")]
        assert {(one.state.value, one.reason) for one in deleted.dropped} == {("DROPPED", "STUDENT_DELETED")}
        assert students_of(deleted.promoted) == [("s-2", "ONE"), ("s-2", "TWO")]
        assert {one.state.value for one in deleted.promoted} == {"ENROLLED"}
        assert (deleted.dropped_count, deleted.promoted_count) == (2, 2)

    async def test_delete_of_a_waiter_promotes_no_student(self, served: Served) -> None:
        """Places on waitlists are dropped too, but free no seat."""
        registrar, _ = served
        answer = await registrar.students.DeleteStudent(DeleteStudentRequest(student_id="s-2", force=True))
        assert students_of(answer.dropped) == [("s-2", "ONE"), ("s-2", "TWO")]
        assert {(one.state, one.waitlist_position) for one in answer.dropped} == {(DROPPED, 0)}
        assert (answer.dropped_count, list(answer.promoted), answer.promoted_count) == (2, [], 0)

    async def test_delete_course_answers_with_dropped(self, served: Served) -> None:
        """A deletion by force lists the course's live enrollments in the order of their creation."""
        _, client = served
        deleted = await client.courses.delete(course_id="ONE", force=True)
        assert deleted.course.delete_time is not None
        assert students_of(deleted.dropped) == [("s-1", "ONE"), ("s-2", "ONE"), ("s-3", "ONE")]
        assert {(one.state.value, one.reason) for one in deleted.dropped} == {("DROPPED", "COURSE_DELETED")}
        assert (deleted.dropped_count, deleted.promoted, deleted.promoted_count) == (3, (), 0)

    async def test_unenroll_and_swap_count_the_promoted(self, served: Served) -> None:
        """``promoted_count`` is the number of enrollments in ``promoted``, unless that list is cut."""
        registrar, client = served
        left = await client.unenroll(student_id="s-1", course_id="ONE")
        assert (students_of(left.promoted), left.promoted_count) == ([("s-2", "ONE")], 1)
        await registrar.add_course("FREE")
        swapped = await client.swap(student_id="s-1", from_course_id="TWO", to_course_id="FREE")
        assert (students_of(swapped.promoted), swapped.promoted_count) == ([("s-2", "TWO")], 1)

    async def test_a_preview_lists_the_same(self, served: Served) -> None:
        """A preview lists the same enrollments as the call, without their etags and times, and changes nothing."""
        registrar, _ = served
        request = DeleteStudentRequest(student_id="s-1", force=True, validate_only=True)
        preview = await registrar.students.DeleteStudent(request)
        assert (await registrar.course("ONE")).enrolled_count == 1
        request.validate_only = False
        answer = await registrar.students.DeleteStudent(request)
        assert students_of(preview.dropped) == students_of(answer.dropped)
        assert students_of(preview.promoted) == students_of(answer.promoted)
        assert (preview.dropped_count, preview.promoted_count) == (2, 2)
        for one in (*preview.dropped, *preview.promoted):
            assert (one.etag, one.HasField("update_time")) == ("", False)

    async def test_a_replay_lists_the_same(self, served: Served) -> None:
        """A repeated request gets the first answer with its lists and counts, whatever happened since."""
        registrar, _ = served
        course = Course(course_id="ONE", capacity=3)
        request = UpdateCourseRequest(course=course, request_id=str(uuid.uuid4()))
        first = await registrar.courses.UpdateCourse(request)
        await registrar.enrollments.Unenroll(UnenrollRequest(student_id="s-3", course_id="ONE"))
        assert await registrar.courses.UpdateCourse(request) == first
        assert first.promoted_count == 2


CROWD = [f"s-{number:04}".ljust(128, "x") for number in range(1_500)]
"""Students with ids as long as ids can be."""
LONG_COURSE = "c".ljust(128, "x")


def crowded(course_id: str, students: list[str], **values: Any) -> list[Command]:
    """Return commands that create a course without a seat and let students wait for it."""
    places = {"capacity": 0, "waitlist_capacity": len(students)}
    return [CreateCourse(course_id, places | values), *(Enroll(student_id, course_id) for student_id in students)]


async def fill_course(registrar: Registrar, course_id: str) -> None:
    """Set the fields of a course to values as large as they can be."""
    course = Course(
        course_id=course_id,
        title=LARGE * 500,
        description=LARGE * 10_000,
        meetings=[Meeting(location=LARGE * 200) for _ in range(50)],
    )
    await registrar.courses.UpdateCourse(UpdateCourseRequest(course=course))


async def fill_student(registrar: Registrar, student_id: str) -> None:
    """Place as many holds on a student as a student can have, as large as they can be."""
    for number in range(32):
        code = f"{number:02}".ljust(64, LARGE)
        hold = PlaceHoldRequest(student_id=student_id, code=code, reason=LARGE * 1000)
        answer = await registrar.students.PlaceHold(hold)
        assert len(answer.student.holds) == number + 1


class TestLimits:
    """An answer never outgrows a message, even with the smallest limit: the change is made, so the caller must know."""

    async def test_answers_that_promote_thousands_are_cut_at_100_with_a_count(self, database_url: str) -> None:
        """The first 100 are listed, in the order of the queue, and the replay is the same."""
        carry_out_on(database_url, *map(CreateStudent, CROWD), *crowded(LONG_COURSE, CROWD))
        async with registrar_on(database_url, max_message_bytes=SMALLEST_MESSAGE) as registrar:
            await fill_course(registrar, LONG_COURSE)
            course = Course(course_id=LONG_COURSE, capacity=1_400)
            request = UpdateCourseRequest(course=course, request_id=str(uuid.uuid4()))
            preview = await registrar.courses.UpdateCourse(UpdateCourseRequest(course=course, validate_only=True))
            answer = await registrar.courses.UpdateCourse(request)
            assert [one.student_id for one in answer.promoted] == CROWD[:100]
            assert (answer.promoted_count, answer.course.enrolled_count) == (1_400, 1_400)
            assert (students_of(preview.promoted), preview.promoted_count) == (students_of(answer.promoted), 1_400)
            assert await registrar.courses.UpdateCourse(request) == answer

    async def test_answers_that_drop_thousands_are_cut_at_100_with_a_count(self, database_url: str) -> None:
        """The first 100 dropped enrollments of a deleted course are listed, and the replay is the same."""
        carry_out_on(database_url, *map(CreateStudent, CROWD), *crowded(LONG_COURSE, CROWD))
        async with registrar_on(database_url, max_message_bytes=SMALLEST_MESSAGE) as registrar:
            await fill_course(registrar, LONG_COURSE)
            request = DeleteCourseRequest(course_id=LONG_COURSE, force=True, request_id=str(uuid.uuid4()))
            answer = await registrar.courses.DeleteCourse(request)
            assert [one.student_id for one in answer.dropped] == CROWD[:100]
            assert (answer.dropped_count, answer.course.waitlisted_count) == (1_500, 0)
            assert await registrar.courses.DeleteCourse(request) == answer

    async def test_a_student_in_hundreds_of_courses_with_every_hold_can_be_deleted(self, database_url: str) -> None:
        """Both lists of the answer are cut, and it still has all holds."""
        leaving, waiting = CROWD[:2]
        courses = [f"c-{number:03}".ljust(128, "x") for number in range(150)]
        made = [CreateCourse(course_id, {"capacity": 1, "waitlist_capacity": 1}) for course_id in courses]
        seats = [Enroll(student_id, course_id) for student_id in (leaving, waiting) for course_id in courses]
        carry_out_on(database_url, CreateStudent(leaving), CreateStudent(waiting), *made, *seats)
        async with registrar_on(database_url, max_message_bytes=SMALLEST_MESSAGE) as registrar:
            await fill_student(registrar, leaving)
            request = DeleteStudentRequest(student_id=leaving, force=True, request_id=str(uuid.uuid4()))
            answer = await registrar.students.DeleteStudent(request)
            assert students_of(answer.dropped) == [(leaving, course_id) for course_id in courses[:100]]
            assert students_of(answer.promoted) == [(waiting, course_id) for course_id in courses[:100]]
            assert (answer.dropped_count, answer.promoted_count, len(answer.student.holds)) == (150, 150, 32)
            assert await registrar.students.DeleteStudent(request) == answer

    async def test_a_drop_and_a_swap_that_promote_hundreds_are_cut_too(self, database_url: str) -> None:
        """Holds kept the waiters from many free seats; one drop, or one swap, then promotes all of them."""
        leaving, *others = CROWD[:251]
        carry_out_on(database_url, CreateCourse("FREE"), *map(CreateStudent, [leaving, *others]))
        for course_id in ("ONE", "TWO"):
            course = CreateCourse(course_id, {"capacity": 1, "waitlist_capacity": 250})
            seats = [Enroll(student_id, course_id) for student_id in (leaving, *others)]
            carry_out_on(database_url, course, *seats, *larger_despite_holds(course_id, others))
        swap = SwapEnrollmentRequest(student_id=leaving, from_course_id="TWO", to_course_id="FREE")
        async with registrar_on(database_url, max_message_bytes=SMALLEST_MESSAGE) as registrar:
            left = await registrar.enrollments.Unenroll(UnenrollRequest(student_id=leaving, course_id="ONE"))
            swapped = await registrar.enrollments.SwapEnrollment(swap)
        for promoted, count in ((left.promoted, left.promoted_count), (swapped.promoted, swapped.promoted_count)):
            assert ([one.student_id for one in promoted], count) == (others[:100], 250)


def larger_despite_holds(course_id: str, waiters: list[str]) -> list[Command]:
    """Return commands that add seats to a course while its waiters have holds, so that no student is promoted."""
    return [
        *(PlaceHold(student_id, "BURSAR") for student_id in waiters),
        UpdateCourse(course_id, {"capacity": None}),
        *(ReleaseHold(student_id, "BURSAR") for student_id in waiters),
    ]


class TestHolds:
    """All holds are in every answer with a student, so a student has at most 32."""

    async def test_a_student_has_at_most_32_holds(self, served: Served) -> None:
        """Another hold is refused as an invalid code, before and after a replacement of a hold."""
        registrar, client = served
        await fill_student(registrar, "s-1")
        with pytest.raises(InvalidField) as refusal:
            await client.students.place_hold(student_id="s-1", code="BURSAR")
        (violation,) = refusal.value.field_violations
        problem = "must be the code of one of the student's holds: a student has at most 32 holds"
        assert (violation.field, violation.description) == ("code", problem)
        student = (await registrar.students.GetStudent(GetStudentRequest(student_id="s-1"))).student
        replaced = await client.students.place_hold(student_id="s-1", code=student.holds[0].code)
        assert (len(replaced.holds), replaced.holds[0].reason) == (32, "")
        failure = await refused(registrar.students.PlaceHold(PlaceHoldRequest(student_id="s-1", code="BURSAR")))
        assert failure.fields == {"code": problem}
