"""Random writes of batches, as requests: the commands of ``histories`` and ``scenes``, and invalid ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from hypothesis import strategies as st

from registrar.v1 import course_pb2, course_service_pb2, student_pb2, student_service_pb2
from registrar.v1 import enrollment_pb2 as enrollments
from registrar.v1 import enrollment_service_pb2 as enrollment_service
from registrar_server.core.commands import (
    Command,
    Complete,
    CompleteById,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Settle,
    Swap,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
    VoidCompletion,
)
from registrar_server.core.records import Course, Student
from registrar_server.rpc.settable_fields import write_fields
from registrar_server.rpc.validation import reason_number
from tests.support import histories
from tests.support.batches import create_course, enroll, unenroll
from tests.support.histories import weighted
from tests.support.scenes import STEPS


def request_of(command: Command) -> Message:
    """Return the request that becomes a command."""
    match command:
        case Enroll() | Unenroll() | Swap() | Complete() | CompleteById() | RecordCompletion() | VoidCompletion():
            return _about_enrollment(command)
        case CreateStudent() | UpdateStudent() | CreateCourse() | UpdateCourse():
            return _about_fields(command)
        case PlaceHold(student_id, code, reason):
            return student_service_pb2.PlaceHoldRequest(student_id=student_id, code=code, reason=reason)
        case ReleaseHold(student_id, code):
            return student_service_pb2.ReleaseHoldRequest(student_id=student_id, code=code)
        case DeleteStudent(student_id, etag, force):
            return student_service_pb2.DeleteStudentRequest(student_id=student_id, etag=etag, force=force)
        case UndeleteStudent(student_id):
            return student_service_pb2.UndeleteStudentRequest(student_id=student_id)
        case DeleteCourse(course_id, etag, force):
            return course_service_pb2.DeleteCourseRequest(course_id=course_id, etag=etag, force=force)
        case UndeleteCourse(course_id):
            return course_service_pb2.UndeleteCourseRequest(course_id=course_id)
        case Settle(course_id):
            return course_service_pb2.SettleCourseRequest(course_id=course_id)
    raise TypeError(command)


def _about_enrollment(command: Any) -> Message:
    names = {"Complete": "CompleteEnrollment", "CompleteById": "CompleteEnrollment", "Swap": "SwapEnrollment"}
    names |= {"Enroll": "EnrollStudent"}
    name = type(command).__name__
    request: Any = getattr(enrollment_service, f"{names.get(name, name)}Request")
    values = {field: getattr(command, field) for field in command.__dataclass_fields__}
    override: Override | None = values.pop("override", None)
    if override and override.rules:
        rules = [reason_number(rule) for rule in sorted(override.rules)]
        values["override"] = enrollments.Override(rules=rules, reason=override.reason)
    made: Message = request(**values)
    return made


def _about_fields(command: Any) -> Message:
    is_course = isinstance(command, CreateCourse | UpdateCourse)
    kind: Any = course_pb2.Course if is_course else student_pb2.Student
    service: Any = course_service_pb2 if is_course else student_service_pb2
    name = "course" if is_course else "student"
    creation = getattr(command, "creation", None)
    record: Any = Course if is_course else Student
    key = {f"{name}_id": getattr(command, f"{name}_id")}
    values = write_fields(record(**key, **((creation or {}) | command.values)))
    resource = kind(**key, **values, etag=getattr(command, "etag", ""))
    request = getattr(service, f"{type(command).__name__}Request")
    if isinstance(command, UpdateCourse | UpdateStudent):
        mask = FieldMask(paths=sorted(command.values))
        made: Message = request(**{name: resource}, update_mask=mask, allow_missing=creation is not None)
    else:
        made = request(**{name: resource})
    return made


def named(request: Message, ids: Mapping[str, str]) -> Message:
    """Return a copy of a request with the ids that a database has for the enrollments that it names.

    ``ids`` are by name, such as ``c-1#4``. A name without an id stays as it is, and no enrollment has it as its id.
    """
    copy = type(request)()
    copy.CopyFrom(request)
    if isinstance(copy, enrollment_service.CompleteEnrollmentRequest | enrollment_service.VoidCompletionRequest):
        copy.enrollment_id = ids.get(copy.enrollment_id, copy.enrollment_id)
        name, _, version = copy.etag.partition("/")
        copy.etag = f"{ids.get(name, name)}/{version}" if version else copy.etag
    return copy


#: Requests to begin with; otherwise most writes would be refused because nothing exists yet.
FOUNDATION: Sequence[Message] = [request_of(command) for command in histories.FOUNDATION]

INVALID: Sequence[Message] = [
    enroll("/"),
    unenroll("s-1", "/"),
    create_course("c-9", credits="many"),
    student_service_pb2.PlaceHoldRequest(student_id="s-1"),
    enrollment_service.SwapEnrollmentRequest(student_id="s-1", from_course_id="c-1", to_course_id="c-1"),
]
_ONE: st.SearchStrategy[tuple[Message, ...]] = weighted(
    [
        (12, STEPS.map(lambda commands: tuple(map(request_of, commands)))),
        (1, st.sampled_from(INVALID).map(lambda request: (request,))),
    ]
)

#: The writes of a batch.
MIXES: st.SearchStrategy[list[Message]] = st.lists(_ONE, min_size=1, max_size=10).map(
    lambda steps: list(itertools.chain.from_iterable(steps))
)
