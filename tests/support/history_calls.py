"""Calls for tests of the history: reads of events, and changes that record them."""

from __future__ import annotations

from typing import Any

from registrar.v1.course_pb2 import Course
from registrar.v1.course_service_pb2 import DeleteCourseRequest, UndeleteCourseRequest, UpdateCourseRequest
from registrar.v1.enrollment_pb2 import Enrollment
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    RecordCompletionRequest,
    UnenrollRequest,
    UnenrollResponse,
    VoidCompletionRequest,
)
from registrar.v1.event_pb2 import Event
from registrar.v1.history_service_pb2 import ListEventsRequest, ListEventsResponse
from registrar.v1.student_pb2 import Student
from registrar.v1.student_service_pb2 import (
    DeleteStudentRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
    UndeleteStudentRequest,
    UpdateStudentRequest,
)
from tests.support.servers import Registrar


async def page(registrar: Registrar, **fields: Any) -> ListEventsResponse:
    return await registrar.history.ListEvents(ListEventsRequest(**fields))


async def history(registrar: Registrar, **fields: Any) -> list[Event]:
    """Return all events, which must fit on one page."""
    answer = await page(registrar, page_size=1000, **fields)
    assert not answer.next_page_token
    return list(answer.events)


async def create_campus(registrar: Registrar) -> None:
    """Create students s-1 to s-3, CS-101 with one seat and a waitlist, and CS-102 with unlimited seats."""
    for student_id in ("s-1", "s-2", "s-3"):
        await registrar.add_student(student_id)
    await registrar.add_course("CS-101", capacity=1, waitlist_capacity=5)
    await registrar.add_course("CS-102")


async def drop(registrar: Registrar, student_id: str, course_id: str = "CS-101", **fields: Any) -> UnenrollResponse:
    request = UnenrollRequest(student_id=student_id, course_id=course_id, **fields)
    return await registrar.enrollments.Unenroll(request)


async def complete(registrar: Registrar, student_id: str, course_id: str, **fields: Any) -> Enrollment:
    request = CompleteEnrollmentRequest(student_id=student_id, course_id=course_id, **fields)
    return (await registrar.enrollments.CompleteEnrollment(request)).enrollment


async def void(registrar: Registrar, enrollment_id: str, **fields: Any) -> Enrollment:
    request = VoidCompletionRequest(enrollment_id=enrollment_id, **fields)
    return (await registrar.enrollments.VoidCompletion(request)).enrollment


async def place_hold(registrar: Registrar, student_id: str, code: str, reason: str = "") -> Student:
    request = PlaceHoldRequest(student_id=student_id, code=code, reason=reason)
    return (await registrar.students.PlaceHold(request)).student


async def update_student(registrar: Registrar, student_id: str, **fields: Any) -> Student:
    request = UpdateStudentRequest(student=Student(student_id=student_id, **fields))
    return (await registrar.students.UpdateStudent(request)).student


async def record_every_type(registrar: Registrar) -> None:
    """Make calls that together record every type of event."""
    await create_campus(registrar)
    for number in (1, 2, 3):
        await registrar.enroll(f"s-{number}", "CS-101")
    await place_hold(registrar, "s-2", "LIBRARY")
    await drop(registrar, "s-1")
    await registrar.students.ReleaseHold(ReleaseHoldRequest(student_id="s-2", code="LIBRARY"))
    await complete(registrar, "s-3", "CS-101")
    record = RecordCompletionRequest(student_id="s-1", course_id="CS-102")
    recorded = (await registrar.enrollments.RecordCompletion(record)).enrollment
    await void(registrar, recorded.enrollment_id)
    await registrar.enroll("s-1", "CS-102")
    await update_student(registrar, "s-1", given_name="Ada")
    await registrar.courses.UpdateCourse(UpdateCourseRequest(course=Course(course_id="CS-102", title="Logic")))
    await registrar.students.DeleteStudent(DeleteStudentRequest(student_id="s-1", force=True))
    await registrar.students.UndeleteStudent(UndeleteStudentRequest(student_id="s-1"))
    await registrar.courses.DeleteCourse(DeleteCourseRequest(course_id="CS-101", force=True))
    await registrar.courses.UndeleteCourse(UndeleteCourseRequest(course_id="CS-101"))
