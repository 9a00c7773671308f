"""ListEvents: the events of each change."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.dayofweek_pb2 import MONDAY
from google.type.timeofday_pb2 import TimeOfDay

from registrar.v1.course_pb2 import Course, Meeting
from registrar.v1.course_service_pb2 import DeleteCourseRequest, UndeleteCourseRequest, UpdateCourseRequest
from registrar.v1.enrollment_pb2 import (
    ENROLLMENT_STATE_COMPLETED,
    ENROLLMENT_STATE_DROPPED,
    ENROLLMENT_STATE_ENROLLED,
    ENROLLMENT_STATE_WAITLISTED,
    Enrollment,
    Override,
)
from registrar.v1.enrollment_service_pb2 import (
    EnrollStudentRequest,
    GetEnrollmentRequest,
    RecordCompletionRequest,
    SwapEnrollmentRequest,
)
from registrar.v1.error_reason_pb2 import ERROR_REASON_STUDENT_HOLD, RuleViolations
from registrar.v1.event_pb2 import Event, EventType, FieldChange
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import (
    DeleteStudentRequest,
    ReleaseHoldRequest,
    UndeleteStudentRequest,
    UpdateStudentRequest,
)
from tests.support.databases import execute
from tests.support.history_calls import (
    complete,
    create_campus,
    drop,
    history,
    place_hold,
    record_every_type,
    update_student,
    void,
)
from tests.support.refusals import refused
from tests.support.servers import Registrar

REQUEST_ID = "0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11"
CAMPUS_REVISION = 5
"""The revision of the last event of ``campus``."""


@pytest.fixture
async def campus(registrar: Registrar) -> Registrar:
    """Students s-1 to s-3, CS-101 with one seat and a waitlist, and CS-102 with unlimited seats."""
    await create_campus(registrar)
    return registrar


async def new_events(registrar: Registrar) -> list[Event]:
    """Return the events since the campus was created, without their unique ids."""
    events = await history(registrar, after_revision=CAMPUS_REVISION)
    ids = {event.event_id for event in events}
    assert len(ids - {""}) == len(events)
    for event in events:
        event.ClearField("event_id")
    return events


def expected(type: str, revision: int, time: Timestamp, **fields: Any) -> Event:
    """Return an expected event."""
    return Event(type=EventType.Value(f"EVENT_TYPE_{type}"), revision=revision, time=time, **fields)


def about(enrollment: Enrollment) -> dict[str, Any]:
    """Return the fields of an event about an enrollment."""
    return {"student_id": enrollment.student_id, "course_id": enrollment.course_id, "enrollment": enrollment}


def change(field: str, before: str | None, after: str | None) -> FieldChange:
    return FieldChange(field=field, before=before, after=after)


class TestSeats:
    """Events about an enrollment contain it as the call returned it."""

    async def test_enrolled(self, campus: Registrar) -> None:
        """The event contains the comment and the request id of the call; there are no caller identities yet."""
        given = await campus.enroll("s-1", "CS-101", comment="by telephone", request_id=REQUEST_ID)
        assert await new_events(campus) == [
            expected(
                "STUDENT_ENROLLED", 6, given.update_time, **about(given), comment="by telephone", request_id=REQUEST_ID
            )
        ]

    async def test_waitlisted(self, campus: Registrar) -> None:
        """The event keeps the waitlist position of its time, also after students ahead have left."""
        seated, first, second = [await campus.enroll(f"s-{number}", "CS-101") for number in (1, 2, 3)]
        left = (await drop(campus, "s-2")).enrollment
        assert (first.waitlist_position, second.waitlist_position) == (1, 2)
        assert await new_events(campus) == [
            expected("STUDENT_ENROLLED", 6, seated.update_time, **about(seated)),
            expected("STUDENT_WAITLISTED", 7, first.update_time, **about(first)),
            expected("STUDENT_WAITLISTED", 8, second.update_time, **about(second)),
            expected(
                "STUDENT_UNENROLLED",
                9,
                left.update_time,
                **about(left),
                previous_state=ENROLLMENT_STATE_WAITLISTED,
            ),
        ]

    async def test_unenrolled_and_promoted(self, campus: Registrar) -> None:
        """A drop and the promotion for its seat are two events, each with the previous state."""
        await campus.enroll("s-1", "CS-101")
        await campus.enroll("s-2", "CS-101")
        answer = await drop(campus, "s-1", reason="moved", comment="in tears", request_id=REQUEST_ID)
        (promoted,) = answer.promoted
        assert (await new_events(campus))[2:] == [
            expected(
                "STUDENT_UNENROLLED",
                8,
                answer.enrollment.update_time,
                **about(answer.enrollment),
                previous_state=ENROLLMENT_STATE_ENROLLED,
                reason="moved",
                comment="in tears",
                request_id=REQUEST_ID,
            ),
            expected(
                "STUDENT_PROMOTED",
                9,
                promoted.update_time,
                **about(promoted),
                previous_state=ENROLLMENT_STATE_WAITLISTED,
                request_id=REQUEST_ID,
            ),
        ]

    async def test_skipped(self, campus: Registrar) -> None:
        """A skipped promotion has the violations of a refusal and the unchanged enrollment."""
        await campus.enroll("s-1", "CS-101")
        waiting = await campus.enroll("s-2", "CS-101")
        await place_hold(campus, "s-2", "LIBRARY", "A book of 1801.")
        refusal = await refused(campus.enroll("s-2", "CS-102"))
        dropped = (await drop(campus, "s-1")).enrollment
        waiting.ClearField("waitlist_position")
        assert len(refusal.the(RuleViolations).violations) == 1
        assert (await new_events(campus))[-1] == expected(
            "PROMOTION_SKIPPED",
            10,
            dropped.update_time,
            **about(waiting),
            previous_state=ENROLLMENT_STATE_WAITLISTED,
            violations=refusal.the(RuleViolations).violations,
        )

    async def test_overridden(self, campus: Registrar) -> None:
        """The event has the override's reason and what it set aside; later events still name the bypassed rules."""
        await place_hold(campus, "s-1", "LIBRARY")
        refusal = await refused(campus.enroll("s-1", "CS-101"))
        override = Override(rules=[ERROR_REASON_STUDENT_HOLD], reason="Approved.")
        given = await campus.enroll("s-1", "CS-101", override=override)
        dropped = (await drop(campus, "s-1", reason="moved")).enrollment
        bypassed = [ERROR_REASON_STUDENT_HOLD]
        assert given.bypassed_rules == bypassed
        assert (await new_events(campus))[1:] == [
            expected(
                "STUDENT_ENROLLED",
                7,
                given.update_time,
                **about(given),
                reason="Approved.",
                bypassed_rules=bypassed,
                violations=refusal.the(RuleViolations).violations,
            ),
            expected(
                "STUDENT_UNENROLLED",
                8,
                dropped.update_time,
                **about(dropped),
                previous_state=ENROLLMENT_STATE_ENROLLED,
                reason="moved",
                bypassed_rules=bypassed,
            ),
        ]

    async def test_completed(self, campus: Registrar) -> None:
        """A completion and its correction each have the grade of their time."""
        await campus.enroll("s-1", "CS-102")
        first = await complete(campus, "s-1", "CS-102", grade="B")
        second = await complete(campus, "s-1", "CS-102", grade="F", passed=False)
        assert (first.grade, second.grade) == ("B", "F")
        assert (await new_events(campus))[1:] == [
            expected(
                "ENROLLMENT_COMPLETED",
                7,
                first.update_time,
                **about(first),
                previous_state=ENROLLMENT_STATE_ENROLLED,
            ),
            expected(
                "ENROLLMENT_COMPLETED",
                8,
                second.update_time,
                **about(second),
                previous_state=ENROLLMENT_STATE_COMPLETED,
                changes=[change("grade", "B", "F"), change("passed", "true", "false")],
            ),
        ]

    async def test_completion_recorded(self, campus: Registrar) -> None:
        """A recorded completion has no previous state."""
        request = RecordCompletionRequest(student_id="s-1", course_id="CS-102", grade="A", comment="from Göttingen")
        given = (await campus.enrollments.RecordCompletion(request)).enrollment
        assert await new_events(campus) == [
            expected("COMPLETION_RECORDED", 6, given.update_time, **about(given), comment="from Göttingen")
        ]

    async def test_completion_voided(self, campus: Registrar) -> None:
        """The event has the reason of the call, and the event of the completion stays as it was."""
        request = RecordCompletionRequest(student_id="s-1", course_id="CS-102", grade="A")
        given = (await campus.enrollments.RecordCompletion(request)).enrollment
        voided = await void(campus, given.enrollment_id, reason="by mistake", request_id=REQUEST_ID)
        assert voided.reason == "by mistake"
        assert await new_events(campus) == [
            expected("COMPLETION_RECORDED", 6, given.update_time, **about(given)),
            expected(
                "COMPLETION_VOIDED",
                7,
                voided.update_time,
                **about(voided),
                previous_state=ENROLLMENT_STATE_COMPLETED,
                reason="by mistake",
                request_id=REQUEST_ID,
            ),
        ]

    async def test_swapped(self, campus: Registrar) -> None:
        """A swap is two events: the new enrollment, then the dropped one."""
        await campus.enroll("s-1", "CS-101")
        answer = await campus.enrollments.SwapEnrollment(
            SwapEnrollmentRequest(
                student_id="s-1",
                from_course_id="CS-101",
                to_course_id="CS-102",
                comment="easier",
                request_id=REQUEST_ID,
            )
        )
        by_call: dict[str, Any] = {"comment": "easier", "request_id": REQUEST_ID}
        assert (await new_events(campus))[1:] == [
            expected("STUDENT_ENROLLED", 7, answer.enrollment.update_time, **about(answer.enrollment), **by_call),
            expected(
                "STUDENT_UNENROLLED",
                8,
                answer.dropped.update_time,
                **about(answer.dropped),
                previous_state=ENROLLMENT_STATE_ENROLLED,
                reason="SWAPPED",
                **by_call,
            ),
        ]

    async def test_as_it_was(self, campus: Registrar) -> None:
        """Later changes do not affect earlier events, which keep the enrollment of their time."""
        await campus.enroll("s-1", "CS-101")
        await campus.enroll("s-2", "CS-101")
        before = await history(campus)
        await drop(campus, "s-1", reason="moved")
        await drop(campus, "s-2", reason="moved too")
        await campus.enroll("s-2", "CS-101")
        await complete(campus, "s-2", "CS-101", grade="A")
        after = await history(campus)
        assert after[: len(before)] == before
        states = [event.enrollment.state for event in after if event.student_id == "s-2" and event.course_id]
        assert states == [
            ENROLLMENT_STATE_WAITLISTED,
            ENROLLMENT_STATE_ENROLLED,
            ENROLLMENT_STATE_DROPPED,
            ENROLLMENT_STATE_ENROLLED,
            ENROLLMENT_STATE_COMPLETED,
        ]

    async def test_missing_enrollment(self, campus: Registrar, database_url: str) -> None:
        """If an enrollment is deleted manually, its events are returned with the fields that they store themselves."""
        await campus.enroll("s-1", "CS-101")
        dropped = (await drop(campus, "s-1", reason="moved")).enrollment
        execute(database_url, "DELETE FROM enrollments")
        for field in ("attempt", "create_time", "end_time", "reason"):
            dropped.ClearField(field)
        events = await new_events(campus)
        assert len(events) == 2
        assert events[-1].enrollment == dropped


class TestRecords:
    """Events about students, holds and courses contain the changed fields, formatted for people."""

    async def test_holds(self, campus: Registrar) -> None:
        """Placing, replacing and releasing a hold are events with the code and the reason."""
        placed = await place_hold(campus, "s-1", "LIBRARY", "A book.")
        replaced = await place_hold(campus, "s-1", "LIBRARY", "Two books.")
        request = ReleaseHoldRequest(student_id="s-1", code="LIBRARY", request_id=REQUEST_ID)
        released = (await campus.students.ReleaseHold(request)).student
        assert await new_events(campus) == [
            expected(
                "HOLD_PLACED",
                6,
                placed.update_time,
                student_id="s-1",
                reason="A book.",
                changes=[change("code", None, "LIBRARY"), change("reason", None, "A book.")],
            ),
            expected(
                "HOLD_PLACED",
                7,
                replaced.update_time,
                student_id="s-1",
                reason="Two books.",
                changes=[change("code", "LIBRARY", "LIBRARY"), change("reason", "A book.", "Two books.")],
            ),
            expected(
                "HOLD_RELEASED",
                8,
                released.update_time,
                student_id="s-1",
                reason="Two books.",
                changes=[change("code", "LIBRARY", None), change("reason", "Two books.", None)],
                request_id=REQUEST_ID,
            ),
        ]

    async def test_students(self, campus: Registrar) -> None:
        """Created fields have no old value, and cleared fields have no new value."""
        created = await campus.add_student("s-4", given_name="Élodie “É”", max_credits="12.500")
        updated = await update_student(campus, "s-4", given_name="Ada", email="ada@example.edu")
        request = UpdateStudentRequest(student=Student(student_id="s-4"), update_mask=FieldMask(paths=["max_credits"]))
        cleared = (await campus.students.UpdateStudent(request)).student
        deleted = (await campus.students.DeleteStudent(DeleteStudentRequest(student_id="s-4"))).student
        restored = (await campus.students.UndeleteStudent(UndeleteStudentRequest(student_id="s-4"))).student
        changes = [
            [change("given_name", None, "Élodie “É”"), change("max_credits", None, "12.5")],
            [change("given_name", "Élodie “É”", "Ada"), change("email", None, "ada@example.edu")],
            [change("max_credits", "12.5", None)],
        ]
        assert await new_events(campus) == [
            expected("STUDENT_CREATED", 6, created.update_time, student_id="s-4", changes=changes[0]),
            expected("STUDENT_UPDATED", 7, updated.update_time, student_id="s-4", changes=changes[1]),
            expected("STUDENT_UPDATED", 8, cleared.update_time, student_id="s-4", changes=changes[2]),
            expected("STUDENT_DELETED", 9, deleted.update_time, student_id="s-4"),
            expected("STUDENT_UNDELETED", 10, restored.update_time, student_id="s-4"),
        ]

    async def test_courses(self, campus: Registrar) -> None:
        """Times are formatted as in RFC 3339, and lists as JSON."""
        meeting = Meeting(weekdays=[MONDAY], start_time=TimeOfDay(hours=9), end_time=TimeOfDay(hours=10))
        opens = Timestamp(seconds=1_535_781_600, nanos=500_000_000)
        created = await campus.add_course("CS-103", title="Logic", meetings=[meeting], enroll_open_time=opens)
        request = UpdateCourseRequest(course=Course(course_id="CS-103", capacity=30), request_id=REQUEST_ID)
        updated = (await campus.courses.UpdateCourse(request)).course
        deleted = (await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-103"))).course
        restored = (await campus.courses.UndeleteCourse(UndeleteCourseRequest(course_id="CS-103"))).course
        changes = [
            change("title", None, "Logic"),
            change("enroll_open_time", None, "2018-09-01T06:00:00.500000Z"),
            change("meetings", None, '[[[1],32400,36000,"","",""]]'),
        ]
        resized = [change("capacity", None, "30")]
        assert await new_events(campus) == [
            expected("COURSE_CREATED", 6, created.update_time, course_id="CS-103", changes=changes),
            expected(
                "COURSE_UPDATED", 7, updated.update_time, course_id="CS-103", changes=resized, request_id=REQUEST_ID
            ),
            expected("COURSE_DELETED", 8, deleted.update_time, course_id="CS-103"),
            expected("COURSE_UNDELETED", 9, restored.update_time, course_id="CS-103"),
        ]


class TestCompleteness:
    """The history contains every change, and nothing else."""

    async def test_every_type(self, registrar: Registrar) -> None:
        """Every type of event is recorded, and revisions have no gaps."""
        await record_every_type(registrar)
        events = await history(registrar)
        assert {event.type for event in events} == set(EventType.values()[1:])
        assert [event.revision for event in events] == list(range(1, len(events) + 1))
        assert len({event.event_id for event in events}) == len(events)

    async def test_forced_deletion_of_a_student(self, campus: Registrar) -> None:
        """A forced deletion records an event for each enrollment that it drops, and earlier events remain."""
        for course_id in ("CS-101", "CS-102"):
            await campus.enroll("s-1", course_id)
        before = await history(campus, student_id="s-1")
        await campus.students.DeleteStudent(DeleteStudentRequest(student_id="s-1", force=True))
        after = await history(campus, student_id="s-1")
        assert after[: len(before)] == before
        assert [(EventType.Name(event.type), event.course_id, event.reason) for event in after[len(before) :]] == [
            ("EVENT_TYPE_STUDENT_UNENROLLED", "CS-101", "STUDENT_DELETED"),
            ("EVENT_TYPE_STUDENT_UNENROLLED", "CS-102", "STUDENT_DELETED"),
            ("EVENT_TYPE_STUDENT_DELETED", "", ""),
        ]
        assert {event.enrollment.reason for event in after[len(before) : -1]} == {"STUDENT_DELETED"}

    async def test_forced_deletion_of_a_course(self, campus: Registrar) -> None:
        """A forced deletion records an event for each enrolled or waiting student, and promotes no student."""
        for student_id in ("s-1", "s-2"):
            await campus.enroll(student_id, "CS-101")
        before = await history(campus, course_id="CS-101")
        await campus.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101", force=True))
        after = await history(campus, course_id="CS-101")
        assert after[: len(before)] == before
        assert [(EventType.Name(event.type), event.student_id, event.reason) for event in after[len(before) :]] == [
            ("EVENT_TYPE_STUDENT_UNENROLLED", "s-1", "COURSE_DELETED"),
            ("EVENT_TYPE_STUDENT_UNENROLLED", "s-2", "COURSE_DELETED"),
            ("EVENT_TYPE_COURSE_DELETED", "", ""),
        ]

    async def test_no_event(self, campus: Registrar) -> None:
        """Refusals, previews, replays and calls that change nothing record no events."""
        request = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=REQUEST_ID)
        await campus.enrollments.EnrollStudent(request)
        await campus.enrollments.EnrollStudent(request)
        await refused(campus.enroll("s-1", "CS-101"))
        await campus.enroll("s-1", "CS-101", allow_existing=True)
        await campus.enroll("s-2", "CS-101", validate_only=True)
        await drop(campus, "s-3", allow_missing=True)
        await update_student(campus, "s-1", given_name="")
        await campus.courses.UndeleteCourse(UndeleteCourseRequest(course_id="CS-101"))
        assert [EventType.Name(event.type) for event in await new_events(campus)] == ["EVENT_TYPE_STUDENT_ENROLLED"]

    async def test_last_event(self, registrar: Registrar) -> None:
        """The last event of each enrollment contains it as GetEnrollment returns it."""
        await record_every_type(registrar)
        last = {event.enrollment.enrollment_id: event.enrollment for event in await history(registrar)}
        del last[""]
        assert len(last) == 5
        for enrollment_id, enrollment in last.items():
            request = GetEnrollmentRequest(enrollment_id=enrollment_id)
            assert enrollment == (await registrar.enrollments.GetEnrollment(request)).enrollment
