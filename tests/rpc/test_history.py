"""ListEvents: what the history tells of each change, and how it is read."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.dayofweek_pb2 import MONDAY
from google.type.timeofday_pb2 import TimeOfDay
from grpc import StatusCode

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
    CompleteEnrollmentRequest,
    EnrollStudentRequest,
    GetEnrollmentRequest,
    RecordCompletionRequest,
    SwapEnrollmentRequest,
    UnenrollRequest,
    UnenrollResponse,
)
from registrar.v1.error_reason_pb2 import ERROR_REASON_STUDENT_HOLD, RuleViolations
from registrar.v1.event_pb2 import Event, EventType, FieldChange
from registrar.v1.history_service_pb2 import ListEventsRequest, ListEventsResponse
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import (
    DeleteStudentRequest,
    ListStudentsRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
    UndeleteStudentRequest,
    UpdateStudentRequest,
)
from tests.support.databases import execute
from tests.support.failures import info, refused
from tests.support.servers import Registrar, registrar_on

REQUEST_ID = "0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11"
ID_RULE = "must match [A-Za-z0-9][A-Za-z0-9._~@-]{0,127}"
FOUNDED = 5
"""The revision of the last event of ``campus``."""


@pytest.fixture
async def campus(registrar: Registrar) -> Registrar:
    """Students s-1 to s-3, CS-101 with one seat and a waitlist, and CS-102 with seats for all."""
    for student_id in ("s-1", "s-2", "s-3"):
        await registrar.add_student(student_id)
    await registrar.add_course("CS-101", capacity=1, waitlist_capacity=5)
    await registrar.add_course("CS-102")
    return registrar


async def page(registrar: Registrar, **fields: Any) -> ListEventsResponse:
    return await registrar.history.ListEvents(ListEventsRequest(**fields))


async def history(registrar: Registrar, **fields: Any) -> list[Event]:
    """All events, which have to fit one page."""
    answer = await page(registrar, page_size=1000, **fields)
    assert not answer.next_page_token
    return list(answer.events)


async def news(registrar: Registrar) -> list[Event]:
    """What was told since the campus was founded, without the ids of events, of which each has its own."""
    events = await history(registrar, after_revision=FOUNDED)
    ids = {event.event_id for event in events}
    assert len(ids - {""}) == len(events)
    for event in events:
        event.ClearField("event_id")
    return events


def told(type: str, revision: int, time: Timestamp, **fields: Any) -> Event:
    """An event as it has to be."""
    return Event(type=EventType.Value(f"EVENT_TYPE_{type}"), revision=revision, time=time, **fields)


def of(enrollment: Enrollment) -> dict[str, Any]:
    """What an event tells of an enrollment that a call has answered with."""
    return {"student_id": enrollment.student_id, "course_id": enrollment.course_id, "enrollment": enrollment}


def change(field: str, before: str | None, after: str | None) -> FieldChange:
    return FieldChange(field=field, before=before, after=after)


async def drop(registrar: Registrar, student_id: str, course_id: str = "CS-101", **fields: Any) -> UnenrollResponse:
    request = UnenrollRequest(student_id=student_id, course_id=course_id, **fields)
    return await registrar.enrollments.Unenroll(request)


async def complete(registrar: Registrar, student_id: str, course_id: str, **fields: Any) -> Enrollment:
    request = CompleteEnrollmentRequest(student_id=student_id, course_id=course_id, **fields)
    return (await registrar.enrollments.CompleteEnrollment(request)).enrollment


async def place_hold(registrar: Registrar, student_id: str, code: str, reason: str = "") -> Student:
    request = PlaceHoldRequest(student_id=student_id, code=code, reason=reason)
    return (await registrar.students.PlaceHold(request)).student


async def update_student(registrar: Registrar, student_id: str, **fields: Any) -> Student:
    request = UpdateStudentRequest(student=Student(student_id=student_id, **fields))
    return (await registrar.students.UpdateStudent(request)).student


class TestSeats:
    """Each event of an enrollment has it as the call answered it."""

    async def test_enrolled(self, campus: Registrar) -> None:
        """The remark and the request id of the call are told; nobody has an identity yet."""
        given = await campus.enroll("s-1", "CS-101", comment="by telephone", request_id=REQUEST_ID)
        assert await news(campus) == [
            told("STUDENT_ENROLLED", 6, given.update_time, **of(given), comment="by telephone", request_id=REQUEST_ID)
        ]

    async def test_waitlisted(self, campus: Registrar) -> None:
        """The place in the queue is the one it was, also after those ahead have left."""
        seated, first, second = [await campus.enroll(f"s-{number}", "CS-101") for number in (1, 2, 3)]
        left = (await drop(campus, "s-2")).enrollment
        assert (first.waitlist_position, second.waitlist_position) == (1, 2)
        assert await news(campus) == [
            told("STUDENT_ENROLLED", 6, seated.update_time, **of(seated)),
            told("STUDENT_WAITLISTED", 7, first.update_time, **of(first)),
            told("STUDENT_WAITLISTED", 8, second.update_time, **of(second)),
            told(
                "STUDENT_UNENROLLED",
                9,
                left.update_time,
                **of(left),
                previous_state=ENROLLMENT_STATE_WAITLISTED,
            ),
        ]

    async def test_unenrolled_and_promoted(self, campus: Registrar) -> None:
        """A seat that is given up and the promotion for it are two events, each with the state before."""
        await campus.enroll("s-1", "CS-101")
        await campus.enroll("s-2", "CS-101")
        answer = await drop(campus, "s-1", reason="moved", comment="in tears", request_id=REQUEST_ID)
        (promoted,) = answer.promoted
        assert (await news(campus))[2:] == [
            told(
                "STUDENT_UNENROLLED",
                8,
                answer.enrollment.update_time,
                **of(answer.enrollment),
                previous_state=ENROLLMENT_STATE_ENROLLED,
                reason="moved",
                comment="in tears",
                request_id=REQUEST_ID,
            ),
            told(
                "STUDENT_PROMOTED",
                9,
                promoted.update_time,
                **of(promoted),
                previous_state=ENROLLMENT_STATE_WAITLISTED,
                request_id=REQUEST_ID,
            ),
        ]

    async def test_skipped(self, campus: Registrar) -> None:
        """Why somebody was passed over is told as a refusal would; the enrollment is what it was before."""
        await campus.enroll("s-1", "CS-101")
        waiting = await campus.enroll("s-2", "CS-101")
        await place_hold(campus, "s-2", "LIBRARY", "A book of 1801.")
        refusal = await refused(campus.enroll("s-2", "CS-102"))
        dropped = (await drop(campus, "s-1")).enrollment
        waiting.ClearField("waitlist_position")
        assert len(refusal.the(RuleViolations).violations) == 1
        assert (await news(campus))[-1] == told(
            "PROMOTION_SKIPPED",
            10,
            dropped.update_time,
            **of(waiting),
            previous_state=ENROLLMENT_STATE_WAITLISTED,
            violations=refusal.the(RuleViolations).violations,
        )

    async def test_overridden(self, campus: Registrar) -> None:
        """The reason is that of the override, and the rules set aside stay named at what comes later."""
        await place_hold(campus, "s-1", "LIBRARY")
        override = Override(rules=[ERROR_REASON_STUDENT_HOLD], reason="The dean said so.")
        given = await campus.enroll("s-1", "CS-101", override=override)
        dropped = (await drop(campus, "s-1", reason="moved")).enrollment
        bypassed = [ERROR_REASON_STUDENT_HOLD]
        assert given.bypassed_rules == bypassed
        assert (await news(campus))[1:] == [
            told(
                "STUDENT_ENROLLED",
                7,
                given.update_time,
                **of(given),
                reason="The dean said so.",
                bypassed_rules=bypassed,
            ),
            told(
                "STUDENT_UNENROLLED",
                8,
                dropped.update_time,
                **of(dropped),
                previous_state=ENROLLMENT_STATE_ENROLLED,
                reason="moved",
                bypassed_rules=bypassed,
            ),
        ]

    async def test_completed(self, campus: Registrar) -> None:
        """A completion and its correction: each has the grade as it was then."""
        await campus.enroll("s-1", "CS-102")
        first = await complete(campus, "s-1", "CS-102", grade="B")
        second = await complete(campus, "s-1", "CS-102", grade="F", passed=False)
        assert (first.grade, second.grade) == ("B", "F")
        assert (await news(campus))[1:] == [
            told(
                "ENROLLMENT_COMPLETED",
                7,
                first.update_time,
                **of(first),
                previous_state=ENROLLMENT_STATE_ENROLLED,
            ),
            told(
                "ENROLLMENT_COMPLETED",
                8,
                second.update_time,
                **of(second),
                previous_state=ENROLLMENT_STATE_COMPLETED,
                changes=[change("grade", "B", "F"), change("passed", "true", "false")],
            ),
        ]

    async def test_completion_recorded(self, campus: Registrar) -> None:
        """A completion from elsewhere had no state before."""
        request = RecordCompletionRequest(student_id="s-1", course_id="CS-102", grade="A", comment="from Göttingen")
        given = (await campus.enrollments.RecordCompletion(request)).enrollment
        assert await news(campus) == [
            told("COMPLETION_RECORDED", 6, given.update_time, **of(given), comment="from Göttingen")
        ]

    async def test_swapped(self, campus: Registrar) -> None:
        """A swap is two events: the seat that was taken, then the one given up."""
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
        assert (await news(campus))[1:] == [
            told("STUDENT_ENROLLED", 7, answer.enrollment.update_time, **of(answer.enrollment), **by_call),
            told(
                "STUDENT_UNENROLLED",
                8,
                answer.dropped.update_time,
                **of(answer.dropped),
                previous_state=ENROLLMENT_STATE_ENROLLED,
                reason="SWAPPED",
                **by_call,
            ),
        ]

    async def test_as_it_was(self, campus: Registrar) -> None:
        """What comes later changes nothing of what was told: an event has the enrollment as that change left it."""
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

    async def test_without_its_row(self, campus: Registrar, database_url: str) -> None:
        """Where somebody removed an enrollment by hand, its events go on to be told, with what they hold themselves."""
        await campus.enroll("s-1", "CS-101")
        dropped = (await drop(campus, "s-1", reason="moved")).enrollment
        execute(database_url, "DELETE FROM enrollments")
        for field in ("attempt", "create_time", "end_time", "reason"):
            dropped.ClearField(field)
        events = await news(campus)
        assert len(events) == 2
        assert events[-1].enrollment == dropped


class TestRecords:
    """Events of students, holds and courses tell which fields changed, as people read them."""

    async def test_holds(self, campus: Registrar) -> None:
        """A hold that is placed, replaced and released; the code says which it is."""
        placed = await place_hold(campus, "s-1", "LIBRARY", "A book.")
        replaced = await place_hold(campus, "s-1", "LIBRARY", "Two books.")
        request = ReleaseHoldRequest(student_id="s-1", code="LIBRARY", request_id=REQUEST_ID)
        released = (await campus.students.ReleaseHold(request)).student
        assert await news(campus) == [
            told(
                "HOLD_PLACED",
                6,
                placed.update_time,
                student_id="s-1",
                reason="A book.",
                changes=[change("code", None, "LIBRARY"), change("reason", None, "A book.")],
            ),
            told(
                "HOLD_PLACED",
                7,
                replaced.update_time,
                student_id="s-1",
                reason="Two books.",
                changes=[change("code", "LIBRARY", "LIBRARY"), change("reason", "A book.", "Two books.")],
            ),
            told(
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
        """The life of a student. What was there at the creation has no value before, what is cleared none after."""
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
        assert await news(campus) == [
            told("STUDENT_CREATED", 6, created.update_time, student_id="s-4", changes=changes[0]),
            told("STUDENT_UPDATED", 7, updated.update_time, student_id="s-4", changes=changes[1]),
            told("STUDENT_UPDATED", 8, cleared.update_time, student_id="s-4", changes=changes[2]),
            told("STUDENT_DELETED", 9, deleted.update_time, student_id="s-4"),
            told("STUDENT_UNDELETED", 10, restored.update_time, student_id="s-4"),
        ]

    async def test_courses(self, campus: Registrar) -> None:
        """The life of a course: times are told as in RFC 3339, lists as JSON."""
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
        assert await news(campus) == [
            told("COURSE_CREATED", 6, created.update_time, course_id="CS-103", changes=changes),
            told("COURSE_UPDATED", 7, updated.update_time, course_id="CS-103", changes=resized, request_id=REQUEST_ID),
            told("COURSE_DELETED", 8, deleted.update_time, course_id="CS-103"),
            told("COURSE_UNDELETED", 9, restored.update_time, course_id="CS-103"),
        ]


async def live_through(registrar: Registrar) -> None:
    """Have everything happen that events tell of."""
    for student_id in ("s-1", "s-2", "s-3"):
        await registrar.add_student(student_id)
    await registrar.add_course("CS-101", capacity=1, waitlist_capacity=5)
    await registrar.add_course("CS-102")
    for number in (1, 2, 3):
        await registrar.enroll(f"s-{number}", "CS-101")
    await place_hold(registrar, "s-2", "LIBRARY")
    await drop(registrar, "s-1")
    await registrar.students.ReleaseHold(ReleaseHoldRequest(student_id="s-2", code="LIBRARY"))
    await complete(registrar, "s-3", "CS-101")
    record = RecordCompletionRequest(student_id="s-1", course_id="CS-102")
    await registrar.enrollments.RecordCompletion(record)
    await registrar.enroll("s-1", "CS-102")
    await update_student(registrar, "s-1", given_name="Ada")
    await registrar.courses.UpdateCourse(UpdateCourseRequest(course=Course(course_id="CS-102", title="Logic")))
    await registrar.students.DeleteStudent(DeleteStudentRequest(student_id="s-1", force=True))
    await registrar.students.UndeleteStudent(UndeleteStudentRequest(student_id="s-1"))
    await registrar.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101", force=True))
    await registrar.courses.UndeleteCourse(UndeleteCourseRequest(course_id="CS-101"))


class TestTheWhole:
    """The history is whole, and has nothing that did not happen."""

    async def test_every_type(self, registrar: Registrar) -> None:
        """Everything that can happen is told, in the order in which it did."""
        await live_through(registrar)
        events = await history(registrar)
        assert {event.type for event in events} == set(EventType.values()[1:])
        assert [event.revision for event in events] == list(range(1, len(events) + 1))
        assert len({event.event_id for event in events}) == len(events)

    async def test_the_end_of_a_student(self, campus: Registrar) -> None:
        """A forced deletion tells of each enrollment it ends; the events stay, of a student who is gone too."""
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

    async def test_the_end_of_a_course(self, campus: Registrar) -> None:
        """The same of a course: who had a seat or waited is told, and nobody is promoted."""
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

    async def test_what_changes_nothing(self, campus: Registrar) -> None:
        """Refusals, previews, repeated answers and changes to what is so already are no events."""
        request = EnrollStudentRequest(student_id="s-1", course_id="CS-101", request_id=REQUEST_ID)
        await campus.enrollments.EnrollStudent(request)
        await campus.enrollments.EnrollStudent(request)
        await refused(campus.enroll("s-1", "CS-101"))
        await campus.enroll("s-1", "CS-101", allow_existing=True)
        await campus.enroll("s-2", "CS-101", validate_only=True)
        await drop(campus, "s-3", allow_missing=True)
        await update_student(campus, "s-1", given_name="")
        await campus.courses.UndeleteCourse(UndeleteCourseRequest(course_id="CS-101"))
        assert [EventType.Name(event.type) for event in await news(campus)] == ["EVENT_TYPE_STUDENT_ENROLLED"]

    async def test_the_last_word(self, registrar: Registrar) -> None:
        """The last event of each enrollment has it as GetEnrollment answers, but for its place in the queue."""
        await live_through(registrar)
        last = {event.enrollment.enrollment_id: event.enrollment for event in await history(registrar)}
        del last[""]
        assert len(last) == 5
        for enrollment_id, enrollment in last.items():
            request = GetEnrollmentRequest(enrollment_id=enrollment_id)
            assert enrollment == (await registrar.enrollments.GetEnrollment(request)).enrollment


class TestFilters:
    """Each filter narrows the history; the order stays."""

    @pytest.mark.parametrize("course_id", ["", "CS-101", "CS-102"])
    @pytest.mark.parametrize("student_id", ["", "s-1", "s-3"])
    async def test_whose(self, registrar: Registrar, student_id: str, course_id: str) -> None:
        """Of a student, of a course, of a student in a course, or all."""
        await live_through(registrar)
        found = await history(registrar, student_id=student_id, course_id=course_id)
        assert found == [
            event
            for event in await history(registrar)
            if student_id in ("", event.student_id) and course_id in ("", event.course_id)
        ]
        assert bool(found) == ((student_id, course_id) != ("s-3", "CS-102"))

    async def test_nobody(self, campus: Registrar) -> None:
        """A student or course that never was has no events, which is no error."""
        assert await page(campus, student_id="nobody") == ListEventsResponse()
        assert await page(campus, course_id="nothing") == ListEventsResponse()

    @pytest.mark.parametrize("filters", [{}, {"student_id": "s-2"}, {"course_id": "CS-101"}])
    async def test_after(self, registrar: Registrar, filters: dict[str, str]) -> None:
        """Only what came after a revision, whether that is among the events or not."""
        await live_through(registrar)
        events = await history(registrar, **filters)
        for revision in (0, 1, 7, events[-1].revision - 1):
            later = [event for event in events if event.revision > revision]
            assert await history(registrar, **filters, after_revision=revision) == later
        for revision in (events[-1].revision, 2**63 - 1):
            assert await page(registrar, **filters, after_revision=revision) == ListEventsResponse()


async def all_pages(registrar: Registrar, **fields: Any) -> list[list[int]]:
    """The revisions on each page, from a token to the next."""
    pages: list[list[int]] = []
    token = fields.pop("page_token", "")
    while True:
        answer = await page(registrar, **fields, page_token=token)
        revisions = [event.revision for event in answer.events]
        assert not pages or pages[-1] < revisions, "pages go forward, and none is empty"
        pages.append(revisions)
        token = answer.next_page_token
        if not token:
            return pages


class TestPages:
    """The history comes in pages."""

    @pytest.mark.parametrize("filters", [{}, {"student_id": "s-1"}, {"course_id": "CS-101"}, {"after_revision": 3}])
    async def test_complete(self, registrar: Registrar, filters: dict[str, Any]) -> None:
        """Together the pages are all that passes the filters; each is full but the last."""
        await live_through(registrar)
        events = [event.revision for event in await history(registrar, **filters)]
        for size in (1, 3, len(events) - 1, len(events), 1001):
            pages = await all_pages(registrar, **filters, page_size=size)
            assert pages == [events[start : start + size] for start in range(0, len(events), size)], size

    async def test_default_size(self, sqlite_registrar: Registrar) -> None:
        """A page has 50 events unless asked otherwise."""
        for number in range(51):
            await sqlite_registrar.add_student(f"s-{number}")
        assert await all_pages(sqlite_registrar) == [list(range(1, 51)), [51]]

    async def test_what_comes_meanwhile(self, campus: Registrar) -> None:
        """What happens between two pages is told on a later one; the last token there was leads on to it."""
        first = await page(campus, page_size=3)
        await campus.enroll("s-1", "CS-101")
        assert await all_pages(campus, page_size=2, page_token=first.next_page_token) == [[4, 5], [6]]
        await campus.enroll("s-2", "CS-101")
        assert await all_pages(campus, page_size=2, page_token=first.next_page_token) == [[4, 5], [6, 7]]

    async def test_after_a_restart(self, database_url: str) -> None:
        """A token is good on any server, at any time."""
        async with registrar_on(database_url) as one:
            await live_through(one)
            first = await page(one, student_id="s-1", page_size=2)
            rest = await all_pages(one, student_id="s-1", page_size=2, page_token=first.next_page_token)
        async with registrar_on(database_url) as other:
            again = await all_pages(other, student_id="s-1", page_size=2, page_token=first.next_page_token)
        assert again == rest

    @pytest.mark.parametrize(
        "others", [{}, {"student_id": "s-2"}, {"student_id": "s-1", "course_id": "CS-101"}, {"after_revision": 1}]
    )
    async def test_other_filters(self, sqlite_registrar: Registrar, others: dict[str, Any]) -> None:
        """A token belongs to its filters, of which after_revision is one."""
        await live_through(sqlite_registrar)
        token = (await page(sqlite_registrar, student_id="s-1", page_size=2)).next_page_token
        await assert_refused(sqlite_registrar, page_token=token, **others)

    async def test_other_list(self, sqlite_registrar: Registrar) -> None:
        """A token of another RPC is refused."""
        await live_through(sqlite_registrar)
        students = await sqlite_registrar.students.ListStudents(ListStudentsRequest(page_size=1))
        await assert_refused(sqlite_registrar, page_token=students.next_page_token)

    @pytest.mark.parametrize("token", ["3", "MQ==", "ä", "x" * 600])
    async def test_made_up(self, sqlite_registrar: Registrar, token: str) -> None:
        """Whatever a caller makes up is refused."""
        await assert_refused(sqlite_registrar, page_token=token)


async def assert_refused(registrar: Registrar, **fields: Any) -> None:
    """Ask for a page with a token that is none."""
    failure = await refused(page(registrar, **fields))
    assert failure.code is StatusCode.INVALID_ARGUMENT
    assert failure.details[0] == info("INVALID_PAGE_TOKEN")
    assert list(failure.fields) == ["page_token"]


async def test_every_bad_field(sqlite_registrar: Registrar) -> None:
    """All bad fields are told at once, each by its path."""
    failure = await refused(
        page(sqlite_registrar, student_id="s 1", course_id="?", after_revision=-1, page_size=-1, page_token="x")
    )
    assert (failure.code, failure.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.fields == {
        "student_id": ID_RULE,
        "course_id": ID_RULE,
        "after_revision": "must not be negative; 0 begins with the first event",
        "page_size": "must not be negative; 0 means 50",
    }
