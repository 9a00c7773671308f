"""Who may make which call, and a request of each RPC. The sets are written by hand, apart from the server's table."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from registrar.v1.batch_service_pb2 import Write
from tests.support.doors import ROWS

CATALOGUE = {"GetCourse", "SearchCourses"}
OF_A_STUDENT = {
    "EnrollStudent",
    "Unenroll",
    "SwapEnrollment",
    "ListCourses",
    "GetStudent",
    "ListEnrollments",
    "ListEvents",
    "WatchEvents",
}
READS = (
    CATALOGUE
    | {"GetEnrollment", "ListCourses", "GetStudent", "ListEnrollments", "ListEvents", "WatchEvents"}
    | {
        "ListRoster",
        "ListStudents",
    }
)
ENROLLMENTS = {
    "EnrollStudent",
    "Unenroll",
    "SwapEnrollment",
    "CompleteEnrollment",
    "RecordCompletion",
    "VoidCompletion",
    "SettleCourse",
}
ADMINISTRATION = {
    "CreateStudent",
    "UpdateStudent",
    "DeleteStudent",
    "UndeleteStudent",
    "PlaceHold",
    "ReleaseHold",
    "CreateCourse",
    "UpdateCourse",
    "DeleteCourse",
    "UndeleteCourse",
}
# A student may ask for any enrollment; those of others are answered as unknown ones. A batch is checked by its writes.
FOR_ALL_STUDENTS = CATALOGUE | {"GetEnrollment", "BatchWrite"}
ALLOWED = {
    "reader": READS | {"BatchWrite"},
    "registrar": READS | ENROLLMENTS | {"BatchWrite"},
    "admin": READS | ENROLLMENTS | ADMINISTRATION | {"BatchWrite"},
    "student:s-1": OF_A_STUDENT | FOR_ALL_STUDENTS,
    "student:s-2": FOR_ALL_STUDENTS,
    "student": set(),
    "reader+student:s-1": READS | OF_A_STUDENT | {"BatchWrite"},
    "admin+student:s-2": READS | ENROLLMENTS | ADMINISTRATION | {"BatchWrite"},
    "nobody": set(),
    "nobody+override+on_behalf_of": set(),
}
"""The calls for the student s-1 that a caller may make."""

STUDENT = {"student_id": "s-1"}
IN_COURSE = {**STUDENT, "course_id": "c-1"}
REQUESTS: dict[str, dict[str, Any]] = {
    "EnrollStudent": IN_COURSE,
    "Unenroll": IN_COURSE,
    "SwapEnrollment": {**STUDENT, "from_course_id": "c-1", "to_course_id": "c-2"},
    "CompleteEnrollment": IN_COURSE,
    "RecordCompletion": IN_COURSE,
    "VoidCompletion": {"enrollment_id": "e-1"},
    "SettleCourse": {"course_id": "c-1"},
    "ListCourses": STUDENT,
    "GetEnrollment": {"enrollment_id": "e-1"},
    "ListEnrollments": STUDENT,
    "ListRoster": {"course_id": "c-1"},
    "ListEvents": STUDENT,
    "WatchEvents": STUDENT,
    "GetStudent": STUDENT,
    "ListStudents": {},
    "CreateStudent": {"student": STUDENT},
    "UpdateStudent": {"student": {**STUDENT, "given_name": "Ada"}},
    "DeleteStudent": STUDENT,
    "UndeleteStudent": STUDENT,
    "PlaceHold": {**STUDENT, "code": "H"},
    "ReleaseHold": {**STUDENT, "code": "H"},
    "GetCourse": {"course_id": "c-1"},
    "SearchCourses": {},
    "CreateCourse": {"course": {"course_id": "c-1"}},
    "UpdateCourse": {"course": {"course_id": "c-1", "title": "Logic"}},
    "DeleteCourse": {"course_id": "c-1"},
    "UndeleteCourse": {"course_id": "c-1"},
    "BatchWrite": {"writes": [{"enroll_student": IN_COURSE}]},
}
WRITES = {
    field.message_type.name.removesuffix("Request"): field.name
    for field in Write.DESCRIPTOR.oneofs[0].fields
    if field.message_type
}
"""The fields of a write by the RPC."""


def request(name: str, **others: Any) -> Message:
    return ROWS[name].request(**{**REQUESTS[name], **others})
