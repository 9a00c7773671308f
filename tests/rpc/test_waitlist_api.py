"""Waitlists, swaps, completions and holds over gRPC: responses, previews and refusals."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from sqlalchemy import Engine

from registrar.v1 import enrollment_pb2
from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import UpdateCourseRequest
from registrar.v1.enrollment_pb2 import Enrollment, Override
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    CompleteEnrollmentResponse,
    EnrollStudentRequest,
    GetEnrollmentRequest,
    ListCoursesRequest,
    ListRosterRequest,
    RecordCompletionRequest,
    RecordCompletionResponse,
    SwapEnrollmentRequest,
    UnenrollRequest,
)
from registrar.v1.error_reason_pb2 import ERROR_REASON_COURSE_FULL
from registrar.v1.event_pb2 import EventType
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar.v1.student_pb2 import Hold
from registrar.v1.student_service_pb2 import PlaceHoldRequest, ReleaseHoldRequest
from tests.support.consistency import assert_consistent
from tests.support.refusals import Failure, info, refused
from tests.support.servers import Registrar

ENROLLED = enrollment_pb2.ENROLLMENT_STATE_ENROLLED
WAITLISTED = enrollment_pb2.ENROLLMENT_STATE_WAITLISTED
DROPPED = enrollment_pb2.ENROLLMENT_STATE_DROPPED
COMPLETED = enrollment_pb2.ENROLLMENT_STATE_COMPLETED


@pytest.fixture
async def campus(registrar: Registrar, engine: Engine) -> Registrar:
    """Students s-1 to s-4, a course ONE with one seat and a waitlist of three, and MANY with unlimited seats."""
    for number in range(1, 5):
        await registrar.add_student(f"s-{number}")
    await registrar.add_course("ONE", capacity=1, waitlist_capacity=3)
    await registrar.add_course("MANY")
    return registrar


def unenroll(student_id: str, course_id: str, **fields: Any) -> UnenrollRequest:
    return UnenrollRequest(student_id=student_id, course_id=course_id, **fields)


def swap(student_id: str, origin: str, target: str, **fields: Any) -> SwapEnrollmentRequest:
    return SwapEnrollmentRequest(student_id=student_id, from_course_id=origin, to_course_id=target, **fields)


def complete(student_id: str, course_id: str, **fields: Any) -> CompleteEnrollmentRequest:
    return CompleteEnrollmentRequest(student_id=student_id, course_id=course_id, **fields)


async def crowd(registrar: Registrar, course_id: str = "ONE") -> list[Enrollment]:
    """Enroll s-1, s-2 and s-3, in this order."""
    return [await registrar.enroll(f"s-{number}", course_id) for number in (1, 2, 3)]


async def enrollment_events(registrar: Registrar, course_id: str = "") -> list[tuple[str, str]]:
    """Return the type and the student of each event about an enrollment."""
    answer = await registrar.history.ListEvents(ListEventsRequest(course_id=course_id))
    return [
        (EventType.Name(event.type).removeprefix("EVENT_TYPE_"), event.student_id)
        for event in answer.events
        if event.HasField("enrollment")
    ]


class TestWaitlist:
    """A full course has a waitlist, and its first student gets the next seat."""

    async def test_promotion(self, campus: Registrar, engine: Engine) -> None:
        """Responses, reads and the history show waitlist positions, a drop and the promotion for its seat."""
        first, second, third = await crowd(campus)
        assert [(one.state, one.waitlist_position) for one in (first, second, third)] == [
            (ENROLLED, 0),
            (WAITLISTED, 1),
            (WAITLISTED, 2),
        ]
        assert await seen(campus, second) == [second] * 3
        assert await seen(campus, third) == [third] * 3

        answer = await campus.enrollments.Unenroll(unenroll("s-1", "ONE"))
        (promoted,) = answer.promoted
        assert promoted.etag not in ("", second.etag)
        second.ClearField("waitlist_position")
        second.MergeFrom(Enrollment(state=ENROLLED, etag=promoted.etag))
        second.update_time.CopyFrom(answer.enrollment.end_time)
        assert promoted == second
        third.waitlist_position = 1
        assert await seen(campus, second) == [second] * 3
        assert await seen(campus, third) == [third] * 3

        course = await campus.course("ONE")
        assert (course.enrolled_count, course.waitlisted_count, course.seats_available) == (1, 1, 0)
        assert await enrollment_events(campus, "ONE") == [
            ("STUDENT_ENROLLED", "s-1"),
            ("STUDENT_WAITLISTED", "s-2"),
            ("STUDENT_WAITLISTED", "s-3"),
            ("STUDENT_UNENROLLED", "s-1"),
            ("STUDENT_PROMOTED", "s-2"),
        ]
        assert_consistent(engine)

    async def test_roster_order(self, campus: Registrar) -> None:
        """Waitlist positions continue from page to page, whichever states are listed."""
        await crowd(campus)
        await campus.enroll("s-4", "ONE")
        await campus.enrollments.Unenroll(unenroll("s-2", "ONE"))
        await campus.enroll("s-2", "ONE")
        for states in ([], [WAITLISTED], [WAITLISTED, DROPPED]):
            found, token = [], ""
            for _ in range(5):
                request = ListRosterRequest(course_id="ONE", states=states, page_size=1, page_token=token)
                page = await campus.enrollments.ListRoster(request)
                found += [(one.student.student_id, one.enrollment.waitlist_position) for one in page.entries]
                if not (token := page.next_page_token):
                    break
            assert [one for one in found if one[1]] == [("s-3", 1), ("s-4", 2), ("s-2", 3)]

    async def test_allow_existing(self, campus: Registrar) -> None:
        """With allow_existing, enrolling again returns the existing enrollment with its current position."""
        _, _, third = await crowd(campus)
        await campus.enrollments.Unenroll(unenroll("s-2", "ONE"))
        third.waitlist_position = 1
        assert await campus.enroll("s-3", "ONE", allow_existing=True) == third

    async def test_out_of_turn(self, campus: Registrar) -> None:
        """An override of COURSE_FULL gives a waiting student a seat beyond the capacity."""
        _, _, third = await crowd(campus)
        override = Override(rules=[ERROR_REASON_COURSE_FULL], reason="athlete")
        made = await campus.enroll("s-3", "ONE", override=override)
        assert (made.enrollment_id, made.state, made.waitlist_position) == (third.enrollment_id, ENROLLED, 0)
        assert list(made.bypassed_rules) == [ERROR_REASON_COURSE_FULL]
        assert (await campus.course("ONE")).enrolled_count == 2

    async def test_more_seats(self, campus: Registrar) -> None:
        """Raising the capacity promotes students, and the history records them."""
        await crowd(campus)
        course = Course(course_id="ONE", capacity=2)
        answer = await campus.courses.UpdateCourse(UpdateCourseRequest(course=course))
        assert (answer.course.enrolled_count, answer.course.waitlisted_count) == (2, 1)
        assert (await enrollment_events(campus, "ONE"))[-1] == ("STUDENT_PROMOTED", "s-2")

    async def test_skipped(self, campus: Registrar) -> None:
        """A student that a rule refuses is skipped, and the history records the violation."""
        await crowd(campus)
        await campus.students.PlaceHold(PlaceHoldRequest(student_id="s-2", code="BURSAR", reason="Unpaid fees."))
        answer = await campus.enrollments.Unenroll(unenroll("s-1", "ONE"))
        assert [one.student_id for one in answer.promoted] == ["s-3"]
        history = await campus.history.ListEvents(ListEventsRequest(student_id="s-2", course_id="ONE"))
        skip = history.events[-1]
        (violation,) = skip.violations
        assert (EventType.Name(skip.type), violation.values["code"]) == ("EVENT_TYPE_PROMOTION_SKIPPED", "BURSAR")


async def seen(registrar: Registrar, enrollment: Enrollment) -> list[Enrollment]:
    """Return an enrollment as GetEnrollment, ListCourses and ListRoster return it."""
    calls = registrar.enrollments
    alone = await calls.GetEnrollment(GetEnrollmentRequest(enrollment_id=enrollment.enrollment_id))
    courses = await calls.ListCourses(ListCoursesRequest(student_id=enrollment.student_id))
    roster = await calls.ListRoster(ListRosterRequest(course_id=enrollment.course_id))
    listed = [*(one.enrollment for one in courses.courses), *(one.enrollment for one in roster.entries)]
    return [alone.enrollment, *(one for one in listed if one.enrollment_id == enrollment.enrollment_id)]


class TestSwap:
    """SwapEnrollment with complete responses."""

    async def test_answer(self, campus: Registrar, engine: Engine) -> None:
        """The response contains the new enrollment, the dropped one and the promoted one."""
        first, second, _ = await crowd(campus)
        answer = await campus.enrollments.SwapEnrollment(swap("s-1", "ONE", "MANY", comment="by phone"))
        made, dropped = answer.enrollment, answer.dropped
        assert (made.student_id, made.course_id, made.state, made.attempt) == ("s-1", "MANY", ENROLLED, 1)
        assert (dropped.enrollment_id, dropped.state, dropped.reason) == (first.enrollment_id, DROPPED, "SWAPPED")
        assert dropped.end_time == made.create_time
        assert [one.enrollment_id for one in answer.promoted] == [second.enrollment_id]
        assert await enrollment_events(campus) == [
            *[("STUDENT_ENROLLED", "s-1"), ("STUDENT_WAITLISTED", "s-2"), ("STUDENT_WAITLISTED", "s-3")],
            *[("STUDENT_ENROLLED", "s-1"), ("STUDENT_UNENROLLED", "s-1"), ("STUDENT_PROMOTED", "s-2")],
        ]
        assert_consistent(engine)

    async def test_never_waits(self, campus: Registrar) -> None:
        """A swap into a full course is refused and keeps the old seat."""
        await campus.enroll("s-1", "ONE")
        seat = await campus.enroll("s-2", "MANY")
        failure = await refused(campus.enrollments.SwapEnrollment(swap("s-2", "MANY", "ONE")))
        assert (failure.code, failure.message) == (
            StatusCode.FAILED_PRECONDITION,
            'The only seat is taken in "ONE".',
        )
        assert failure.details[0] == info("COURSE_FULL", student_id="s-2", course_id="ONE", from_course_id="MANY")
        assert await seen(campus, seat) == [seat] * 3

    async def test_without_a_seat(self, campus: Registrar) -> None:
        """A swap from a waitlist is refused."""
        await crowd(campus)
        assert await refused(campus.enrollments.SwapEnrollment(swap("s-2", "ONE", "MANY"))) == Failure(
            StatusCode.NOT_FOUND,
            'Student "s-2" has no seat in "ONE".',
            (info("NOT_ENROLLED", student_id="s-2", course_id="ONE"),),
        )


class TestCompletions:
    """CompleteEnrollment and RecordCompletion with complete responses."""

    async def test_complete(self, campus: Registrar, engine: Engine) -> None:
        """The enrollment becomes COMPLETED, passed by default, and no student is promoted."""
        seat, _, _ = await crowd(campus)
        answer = await campus.enrollments.CompleteEnrollment(complete("s-1", "ONE", grade="A", etag=seat.etag))
        done = answer.enrollment
        expected = Enrollment(state=COMPLETED, grade="A", passed=True, etag=done.etag, end_time=done.end_time)
        seat.MergeFrom(expected)
        seat.update_time.CopyFrom(done.end_time)
        assert answer == CompleteEnrollmentResponse(enrollment=seat)
        course = await campus.course("ONE")
        assert (course.enrolled_count, course.waitlisted_count, course.seats_available) == (0, 2, 1)
        assert_consistent(engine)

    async def test_correct(self, campus: Registrar, engine: Engine) -> None:
        """Completing again changes grade and passed, and records an event only if they change."""
        await campus.enroll("s-1", "ONE")
        done = (await campus.enrollments.CompleteEnrollment(complete("s-1", "ONE", grade="A"))).enrollment
        again = (await campus.enrollments.CompleteEnrollment(complete("s-1", "ONE", grade="A"))).enrollment
        assert again == done
        request = complete("s-1", "ONE", grade="F", passed=False, etag=done.etag)
        corrected = (await campus.enrollments.CompleteEnrollment(request)).enrollment
        assert (corrected.enrollment_id, corrected.grade) == (done.enrollment_id, "F")
        assert (corrected.HasField("passed"), corrected.passed) == (True, False)
        assert corrected.end_time == done.end_time
        history = await campus.history.ListEvents(ListEventsRequest(student_id="s-1", course_id="ONE"))
        assert [(one.field, one.before, one.after) for one in history.events[-1].changes] == [
            ("grade", "A", "F"),
            ("passed", "true", "false"),
        ]
        assert len(history.events) == 3
        assert_consistent(engine)

    async def test_stale_etag(self, campus: Registrar) -> None:
        """A stale etag is refused, and the message contains the current etag."""
        seat = await campus.enroll("s-1", "ONE")
        stale = f"{seat.enrollment_id}/0"
        failure = await refused(campus.enrollments.CompleteEnrollment(complete("s-1", "ONE", etag=stale)))
        assert failure == Failure(
            StatusCode.ABORTED,
            f'The enrollment "{seat.enrollment_id}" has changed since it was read:'
            f' its etag is now "{seat.etag}". Read it again.',
            (info("ETAG_MISMATCH", enrollment_id=seat.enrollment_id),),
        )

    async def test_etag_of_another_row(self, campus: Registrar) -> None:
        """The etag of an earlier attempt does not complete a later seat, though both are in their first version."""
        earlier = await campus.enroll("s-1", "ONE")
        await campus.enrollments.Unenroll(unenroll("s-1", "ONE"))
        later = await campus.enroll("s-1", "ONE")
        failure = await refused(campus.enrollments.CompleteEnrollment(complete("s-1", "ONE", etag=earlier.etag)))
        assert failure == Failure(
            StatusCode.ABORTED,
            f'The given etag is not of the enrollment "{later.enrollment_id}", whose etag is "{later.etag}".'
            " Read it again.",
            (info("ETAG_MISMATCH", enrollment_id=later.enrollment_id),),
        )
        assert await seen(campus, later) == [later] * 3

    async def test_nothing_to_complete(self, campus: Registrar) -> None:
        """A student with neither a seat nor a completion is not enrolled."""
        await crowd(campus)
        assert await refused(campus.enrollments.CompleteEnrollment(complete("s-2", "ONE"))) == Failure(
            StatusCode.NOT_FOUND,
            'Student "s-2" has no seat or completion in "ONE".',
            (info("NOT_ENROLLED", student_id="s-2", course_id="ONE"),),
        )

    async def test_record(self, campus: Registrar, engine: Engine) -> None:
        """A completion can be recorded without an enrollment, and a seat remains."""
        seat = await campus.enroll("s-1", "ONE")
        request = RecordCompletionRequest(student_id="s-1", course_id="ONE", grade="T", passed=False, comment="Uppsala")
        answer = await campus.enrollments.RecordCompletion(request)
        done = answer.enrollment
        now = done.create_time
        assert answer == RecordCompletionResponse(
            enrollment=Enrollment(
                enrollment_id=done.enrollment_id,
                student_id="s-1",
                course_id="ONE",
                state=COMPLETED,
                attempt=2,
                grade="T",
                passed=False,
                create_time=now,
                update_time=now,
                end_time=now,
                etag=done.etag,
            )
        )
        assert done.enrollment_id not in ("", seat.enrollment_id)
        assert await seen(campus, seat) == [seat] * 3
        assert_consistent(engine)


class TestHolds:
    """PlaceHold and ReleaseHold with complete responses."""

    async def test_place_and_release(self, campus: Registrar) -> None:
        """The response contains the student with all holds in the order of their codes, and a new etag."""
        before = (await campus.students.PlaceHold(PlaceHoldRequest(student_id="s-1", code="LIBRARY"))).student
        place = PlaceHoldRequest(student_id="s-1", code="BURSAR", reason="Unpaid fees.")
        held = (await campus.students.PlaceHold(place)).student
        placed = held.update_time
        assert list(held.holds) == [Hold(code="BURSAR", reason="Unpaid fees.", place_time=placed), *before.holds]
        assert held.etag != before.etag
        release = ReleaseHoldRequest(student_id="s-1", code="LIBRARY")
        released = (await campus.students.ReleaseHold(release)).student
        assert list(released.holds) == [held.holds[0]]
        assert released.etag != held.etag

    async def test_release_missing_hold(self, campus: Registrar) -> None:
        """A hold that does not exist is not found."""
        request = ReleaseHoldRequest(student_id="s-1", code="BURSAR")
        assert await refused(campus.students.ReleaseHold(request)) == Failure(
            StatusCode.NOT_FOUND,
            'There is no hold "BURSAR" on student "s-1".',
            (info("HOLD_NOT_FOUND", student_id="s-1", code="BURSAR"),),
        )


class TestValidateOnly:
    """A preview gets the response of the call, and changes nothing."""

    @pytest.mark.parametrize(
        "request_",
        [
            EnrollStudentRequest(student_id="s-4", course_id="ONE"),
            EnrollStudentRequest(
                student_id="s-3",
                course_id="ONE",
                override=Override(rules=[ERROR_REASON_COURSE_FULL], reason="athlete"),
            ),
            EnrollStudentRequest(student_id="s-3", course_id="ONE", allow_existing=True),
            unenroll("s-1", "ONE", reason="perhaps"),
            unenroll("s-2", "ONE"),
            unenroll("s-4", "ONE", allow_missing=True),
            swap("s-1", "ONE", "MANY"),
            complete("s-1", "ONE", grade="A"),
            complete("s-4", "ONE", grade="B", passed=False),
        ],
        ids=lambda request: request.DESCRIPTOR.name if isinstance(request, Message) else None,
    )
    async def test_response(self, campus: Registrar, engine: Engine, request_: Any) -> None:
        """The response lacks only the ids, times and etags that the call would generate, and includes promotions."""
        await crowd(campus)
        await campus.enrollments.RecordCompletion(RecordCompletionRequest(student_id="s-4", course_id="ONE"))
        before = await everything(campus)
        method = getattr(campus.enrollments, request_.DESCRIPTOR.name.removesuffix("Request"))
        preview = type(request_)()
        preview.CopyFrom(request_)
        preview.validate_only = True
        previewed = await method(preview)
        assert await everything(campus) == before
        made = await method(request_)
        known = {one.enrollment.enrollment_id for one in before["roster"].entries}
        if await everything(campus) == before:
            assert previewed == made
        else:
            assert previewed == without_generated_fields(made, known)
        assert_consistent(engine)

    async def test_refusal(self, campus: Registrar) -> None:
        """A preview is refused with the details of the call."""
        await crowd(campus)
        for request in (swap("s-2", "ONE", "MANY"), complete("s-2", "ONE")):
            method = getattr(campus.enrollments, request.DESCRIPTOR.name.removesuffix("Request"))
            failure = await refused(method(request))
            request.validate_only = True
            assert await refused(method(request)) == failure


async def everything(registrar: Registrar) -> dict[str, Any]:
    """Return everything that can be read about the course and its history."""
    states = [ENROLLED, WAITLISTED, DROPPED, COMPLETED]
    return {
        "course": await registrar.course("ONE"),
        "roster": await registrar.enrollments.ListRoster(ListRosterRequest(course_id="ONE", states=states)),
        "events": await registrar.history.ListEvents(ListEventsRequest()),
    }


def without_generated_fields(answer: Any, known: set[str]) -> Message:
    """Clear the fields that a preview cannot contain; ``known`` enrollments keep their ids and creation times."""
    enrollments = [one for field, one in answer.ListFields() if field.name in ("enrollment", "dropped")]
    for one in (*enrollments, *getattr(answer, "promoted", ())):
        if one.enrollment_id not in known:
            one.ClearField("enrollment_id")
            one.ClearField("create_time")
        for made in ("update_time", "etag", "end_time"):
            one.ClearField(made)
    found: Message = answer
    return found
