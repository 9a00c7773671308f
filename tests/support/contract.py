"""Samples for the contract tests: messages and records with every field filled, and what a row asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from registrar.v1 import course_pb2, student_pb2
from registrar_server.core.courses import DeletedCourse, UpdatedCourse
from registrar_server.core.records import Change as FieldChange
from registrar_server.core.records import Course, Enrollment, Event, Hold, Student
from registrar_server.core.seats import Enrolled, Swapped, Unenrolled
from registrar_server.core.students import DeletedStudent
from registrar_server.core.vocabulary import EnrollmentState, EventType
from registrar_server.errors import Reason, Violation
from registrar_server.reading.history import HistoryEntry
from registrar_server.reading.reader import Reader
from registrar_server.rpc.batch_requests import Batch, asked_by, read_options
from registrar_server.rpc.methods import Change, LookupPlan, Method, Read, Watch, WatchPlan
from registrar_server.rpc.settable_fields import read_fields
from registrar_server.rpc.validation import Fields

VIOLATION = Violation(Reason.WAITLIST_FULL, "The waitlist is full.", {"capacity": "1"})
WAITING = Enrollment(
    "c-1",
    "e-1",
    "s-1",
    1,
    2,
    EnrollmentState.WAITLISTED,
    bypassed_rules=("STUDENT_HOLD",),
    create_time=1,
    update_time=2,
    waitlist_position=3,
)
COMPLETED = Enrollment(
    "c-1",
    "e-1",
    "s-1",
    1,
    2,
    EnrollmentState.COMPLETED,
    grade="A",
    passed=True,
    bypassed_rules=("STUDENT_HOLD",),
    reason="moved",
    create_time=1,
    update_time=2,
    end_time=3,
)
ENTRY = HistoryEntry(
    1,
    Event(
        "ev-1",
        EventType.STUDENT_UNENROLLED,
        2,
        "ada",
        "r-1",
        course_id="c-1",
        student_id="s-1",
        enrollment_id="e-1",
        state=EnrollmentState.DROPPED,
        previous_state=EnrollmentState.ENROLLED,
        reason="moved",
        comment="by phone",
        bypassed_rules=("STUDENT_HOLD",),
        changes=(FieldChange("grade", "B", "A"),),
        violations=(VIOLATION,),
        on_behalf_of="the-dean",
    ),
    COMPLETED,
)
TEXTS = {
    "credits": "1.5",
    "max_credits": "1.5",
    "email": "ada@example.edu",
    "request_id": "0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11",
}


def filled(field: Any) -> Any:
    """Return a valid value of a field that differs from its default; a message has all of its fields filled."""
    value: Any
    if field.message_type is not None:
        value = _MESSAGES.get(field.message_type.name) or _filled_message(field.message_type)
    elif field.enum_type is not None:
        value = 21 if field.enum_type.name == "ErrorReason" else max(field.enum_type.values_by_number)
    elif field.type == field.TYPE_STRING:
        value = TEXTS.get(field.name, f"{field.name}-1".replace("_", "-"))
    else:
        # A truth value with presence may be true by default.
        value = not field.has_presence if field.type == field.TYPE_BOOL else 9
    return [value] if field.is_repeated else value


_MESSAGES: Mapping[str, Any] = {
    "Timestamp": {"seconds": 7},
    "TimeOfDay": {"hours": 9},
    "Date": {"year": 2018, "month": 9, "day": 3},
    "FieldMask": {"paths": ["state"]},
}


def _filled_message(descriptor: Any) -> Any:
    values = {field.name: filled(field) for field in descriptor.fields}
    if "end_time" in values:
        values["end_time"] = {"hours": 10}
    if "enroll_close_time" in values:
        values["enroll_close_time"] = {"seconds": 8}
    return values


def message_of(descriptor: Any, **values: Any) -> Any:
    """Return a message of a descriptor."""
    return GetMessageClass(descriptor)(**values)


def _record(record: type[Student | Course], message: type[Message], **generated: Any) -> Any:
    """Return a student or course with every field that callers set filled as in ``message``, and with the others."""
    return record(**read_fields(Fields(), record, message(**_filled_message(message.DESCRIPTOR))), **generated)


_TIMES = {"create_time": 1, "update_time": 2, "delete_time": 3}
STUDENT: Student = _record(
    Student, student_pb2.Student, student_id="s-1", holds=(Hold("BURSAR", "Unpaid fees.", 5),), version=2, **_TIMES
)
COURSE: Course = _record(
    Course,
    course_pb2.Course,
    course_id="c-1",
    version=2,
    enrolled_count=6,
    waitlisted_count=7,
    completed_count=8,
    **_TIMES,
)
RESULTS: Mapping[str, Any] = {
    "student": STUDENT,
    "course": COURSE,
    "enrollment": COMPLETED,
    "EnrollStudentResponse": Enrolled(WAITING, (WAITING,)),
    "UnenrollResponse": Unenrolled(COMPLETED, (WAITING,)),
    "SwapEnrollmentResponse": Swapped(WAITING, COMPLETED, (WAITING,)),
    "UpdateCourseResponse": UpdatedCourse(COURSE, (WAITING,)),
    "SettleCourseResponse": (WAITING,),
    "DeleteCourseResponse": DeletedCourse(COURSE, (COMPLETED,), (WAITING,)),
    "DeleteStudentResponse": DeletedStudent(STUDENT, (COMPLETED,), (WAITING,)),
}
"""The result that each response packs, by the name of the response or of its one resource."""


def result_of(response: Any) -> Any:
    """Return a result for the decision behind an RPC with this response."""
    return RESULTS.get(response.DESCRIPTOR.name) or RESULTS[response.DESCRIPTOR.fields[0].name]


class _RecordingReader:
    """A reader that returns the name and the arguments of each query instead of its rows."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: (name, *arguments)


def ask(method: Method, request: Any) -> Any:
    """Return the command, lookup, query, watch or batch that an RPC makes of a request, or raise its refusal."""
    given = Fields()
    if isinstance(method, Change):
        command = method.command(given, request)
        given.check()
        return command
    if isinstance(method, Batch):
        return read_options(request), [asked_by(write) for write in request.writes]
    assert isinstance(method, Read | Watch)
    plan = method.plan(given, request)
    given.check()
    if isinstance(plan, WatchPlan):
        return plan
    return plan.lookup if isinstance(plan, LookupPlan) else plan.run(cast("Reader", _RecordingReader()))


def field_names(record: type[Any]) -> set[str]:
    """Return the names of a record type's fields."""
    return {field.name for field in fields(record)} if is_dataclass(record) else set(getattr(record, "_fields", ()))
