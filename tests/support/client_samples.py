"""Values that several test modules of the client use."""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo

Filled = TypeVar("Filled", bound=Message)

REQUEST_ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"

NOON = Timestamp(seconds=1_533_124_800, nanos=123_456_000)
NOON_HERE = dt.datetime(2018, 8, 1, 12, 0, 0, 123_456, tzinfo=dt.UTC)
"""``NOON`` as the client returns it."""

DETAIL = ErrorInfo(reason="NOT_ENROLLED", domain="registrar", metadata={"student_id": "s-1"})
"""What an ``Any`` contains."""

SURFACE: dict[str, tuple[str, dict[str, Any]]] = {
    "EnrollStudent": ("enroll", {"student_id": "s-1", "course_id": "CS-101"}),
    "Unenroll": ("unenroll", {"student_id": "s-1", "course_id": "CS-101"}),
    "SwapEnrollment": ("swap", {"student_id": "s-1", "from_course_id": "CS-101", "to_course_id": "CS-102"}),
    "CompleteEnrollment": ("complete", {"student_id": "s-1", "course_id": "CS-101"}),
    "RecordCompletion": ("record_completion", {"student_id": "s-1", "course_id": "CS-101"}),
    "VoidCompletion": ("void_completion", {"enrollment_id": "e-1"}),
    "GetEnrollment": ("get_enrollment", {"enrollment_id": "e-1"}),
    "ListCourses": ("list_courses", {"student_id": "s-1"}),
    "ListRoster": ("list_roster", {"course_id": "CS-101"}),
    "ListEnrollments": ("list_enrollments", {}),
    "CreateStudent": ("students.create", {}),
    "GetStudent": ("students.get", {"student_id": "s-1"}),
    "ListStudents": ("students.list", {}),
    "UpdateStudent": ("students.update", {"student_id": "s-1"}),
    "DeleteStudent": ("students.delete", {"student_id": "s-1"}),
    "UndeleteStudent": ("students.undelete", {"student_id": "s-1"}),
    "PlaceHold": ("students.place_hold", {"student_id": "s-1", "code": "BURSAR"}),
    "ReleaseHold": ("students.release_hold", {"student_id": "s-1", "code": "BURSAR"}),
    "CreateCourse": ("courses.create", {}),
    "GetCourse": ("courses.get", {"course_id": "CS-101"}),
    "SearchCourses": ("courses.search", {}),
    "UpdateCourse": ("courses.update", {"course_id": "CS-101"}),
    "DeleteCourse": ("courses.delete", {"course_id": "CS-101"}),
    "SettleCourse": ("courses.settle", {"course_id": "CS-101"}),
    "UndeleteCourse": ("courses.undelete", {"course_id": "CS-101"}),
    "ListEvents": ("history.list", {}),
    "WatchEvents": ("history.watch", {}),
    "BatchWrite": ("batch", {"writes": ()}),
}
"""The client's method for each RPC, and its required arguments."""


def filled(kind: type[Filled], *only: str) -> Filled:
    """Return a message with a value in every field, or only in the named fields."""
    return kind(**{name: value for name, value in _values(kind.DESCRIPTOR).items() if not only or name in only})


def _values(message: Any) -> dict[str, Any]:
    if message.full_name == "google.protobuf.Any":
        return {"type_url": f"type.googleapis.com/{DETAIL.DESCRIPTOR.full_name}", "value": DETAIL.SerializeToString()}
    return {field.name: _value(field) for field in message.fields}


def _value(field: FieldDescriptor) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {"key": "value"}
    if field.is_repeated and field.message_type is not None:
        return variants(GetMessageClass(field.message_type))
    value = _single_value(field)
    return [value] if field.is_repeated else value


def variants(kind: type[Filled]) -> list[Filled]:
    """Return a message with a value in every field; if only one of several fields can be set, one for each of them."""
    values = _values(kind.DESCRIPTOR)
    choices = ([field.name for field in oneof.fields] for oneof in kind.DESCRIPTOR.oneofs)
    # An optional field is alone in a oneof.
    names = next((choice for choice in choices if len(choice) > 1), [])
    others = {name: value for name, value in values.items() if name not in names}
    return [kind(**others, **{name: values[name]}) for name in names] or [kind(**values)]


def _single_value(field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return filled(GetMessageClass(field.message_type))
    # These values suit all fields: text that is a decimal, and 1, which is also an hour, a month and an enum member.
    return {field.CPPTYPE_STRING: "1.5", field.CPPTYPE_BOOL: True}.get(field.cpp_type, 1)
