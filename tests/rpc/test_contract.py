"""The server matches the protos: every field is read, stored and written, every command decided, every name known.

A field, command, event type or state that is added in one place and forgotten in another fails the test that names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from registrar.v1 import (
    course_pb2,
    enrollment_pb2,
    error_reason_pb2,
    event_pb2,
    student_pb2,
)
from registrar.v1.batch_service_pb2 import Write
from registrar_server.core import commands, decide, records
from registrar_server.core.commands import Command
from registrar_server.core.records import SETTABLE
from registrar_server.core.vocabulary import CourseState, EnrollmentState, EventType, StudentState
from registrar_server.errors import Refusal
from registrar_server.rpc import convert
from registrar_server.rpc.batch_requests import asked_by
from registrar_server.rpc.methods import Change, Method
from registrar_server.rpc.settable_fields import read_fields
from registrar_server.rpc.table import METHODS
from registrar_server.rpc.validation import Fields
from registrar_server.storage import models
from registrar_server.storage.statements import StoredResponse
from registrar_server.verify.course_replay import COURSE_TRANSITIONS
from registrar_server.verify.student_replay import STUDENT_TRANSITIONS
from tests.support.contract import (
    COMPLETED,
    COURSE,
    ENTRY,
    STUDENT,
    VIOLATION,
    WAITING,
    ask,
    field_names,
    filled,
    message_of,
    result_of,
)

ROWS = [method for methods in METHODS.values() for method in methods.values()]
CHANGES = [method for method in ROWS if isinstance(method, Change)]

ENVELOPE = {"request_id", "validate_only", "page_token"}
"""The fields that are not part of what a call asks for; the tests of request ids, previews and paging cover them."""


def named(value: Any) -> str:
    """Name a parameter: an RPC by its name, a field by its full name without the package."""
    if isinstance(value, Method):
        return value.name
    return str(value.full_name.removeprefix("registrar.v1.")) if hasattr(value, "full_name") else ""


def event_message() -> event_pb2.Event:
    message = event_pb2.Event()
    convert.set_event(message, ENTRY)
    return message


WRITTEN: Mapping[Any, Sequence[Message]] = {
    student_pb2.Student: [convert.student(STUDENT)],
    student_pb2.Hold: convert.student(STUDENT).holds,
    course_pb2.Course: [convert.course(COURSE)],
    course_pb2.Meeting: convert.course(COURSE).meetings,
    enrollment_pb2.Enrollment: [convert.enrollment(COMPLETED), convert.enrollment(WAITING)],
    event_pb2.Event: [event_message()],
    event_pb2.FieldChange: event_message().changes,
    error_reason_pb2.RuleViolation: [convert.violation(VIOLATION)],
}
"""The messages that the server writes, made of records with every field filled."""


@pytest.mark.parametrize("field", [field for message in WRITTEN for field in message.DESCRIPTOR.fields], ids=named)
def test_every_field_of_a_resource_is_written(field: FieldDescriptor) -> None:
    (messages,) = (written for message, written in WRITTEN.items() if message.DESCRIPTOR is field.containing_type)
    assert any(found.number == field.number for message in messages for found, _ in message.ListFields())


@pytest.mark.parametrize("method", CHANGES, ids=named)
def test_every_field_of_a_response_is_written(method: Change) -> None:
    response = method.pack(result_of(method.response))
    assert type(response) is method.response
    assert [field.name for field, _ in response.ListFields()] == field_names_of(method.response)


@pytest.mark.parametrize("record", [WAITING, COMPLETED, replace(WAITING, version=0, create_time=0, update_time=0)])
def test_new_enrollments_are_written_as_all_others(record: records.Enrollment) -> None:
    """Also those of previews, which have no times."""
    for _ in range(2):
        message = enrollment_pb2.Enrollment()
        convert.set_new_enrollment(message, record)
        assert message == convert.enrollment(record)


def field_names_of(message: type[Message]) -> list[str]:
    return [field.name for field in message.DESCRIPTOR.fields]


def settable() -> Iterator[tuple[type[Any], FieldDescriptor]]:
    """The fields of students and courses that the protos do not declare OUTPUT_ONLY, apart from ids and etags."""
    for record, message in ((records.Student, student_pb2.Student), (records.Course, course_pb2.Course)):
        for field in message.DESCRIPTOR.fields:
            behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
            is_key = field.name in ("etag", f"{record.__name__.lower()}_id")
            if field_behavior_pb2.OUTPUT_ONLY not in behavior and not is_key:
                yield record, field


@pytest.mark.parametrize(("record", "field"), list(settable()), ids=named)
def test_every_field_that_callers_may_set_is_read(record: Any, field: FieldDescriptor) -> None:
    fields = Fields()
    unset = read_fields(fields, record, message_of(field.containing_type))
    values = read_fields(fields, record, message_of(field.containing_type, **{field.name: filled(field)}))
    fields.check()
    assert {name for name, value in values.items() if value != unset[name]} == {field.name}


def test_callers_may_set_nothing_else() -> None:
    allowed = [(record, field.name) for record, field in settable()]
    assert [(record, name) for record, kinds in SETTABLE.items() for name in kinds] == allowed


@pytest.mark.parametrize(
    ("record", "model", "generated"),
    [
        (records.Student, models.Student, set()),
        (records.Course, models.Course, set()),
        (records.Enrollment, models.Enrollment, {"waitlist_position"}),
        (records.Event, models.Event, set()),
        (StoredResponse, models.RequestId, set()),
    ],
)
def test_every_field_of_a_record_is_a_column_and_the_reverse(
    record: type[Any], model: type[models.Base], generated: set[str]
) -> None:
    columns = {column.name for column in model.__table__.columns}
    computed = {name for name in columns if isinstance(getattr(record, name, None), property)}
    assert (field_names(record) - generated) | computed == columns - {"revision"}


ALTERNATIVES: Mapping[str, Sequence[set[str]]] = {
    "CompleteEnrollmentRequest": [{"student_id", "course_id"}, {"enrollment_id"}],
}
"""The sets of fields of which a request requires one, beside those that it always requires."""


def alternatives(method: Method) -> Sequence[set[str]]:
    return ALTERNATIVES.get(method.request.DESCRIPTOR.name, [set()])


def smallest(method: Method, alternative: int = 0) -> Any:
    """Return a request with the required fields alone."""
    required = {}
    chosen = alternatives(method)[alternative]
    for field in method.request.DESCRIPTOR.fields:
        behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.REQUIRED in behavior or field.name in chosen:
            resource = field.message_type
            key = f"{field.name}_id"
            # A resource is required with its id alone.
            is_resource = resource is not None and not field.is_repeated
            required[field.name] = {key: f"{field.name}-1"} if is_resource else filled(field)
    return method.request(**required)


def inputs() -> Iterator[tuple[Method, Any]]:
    for method in ROWS:
        for field in method.request.DESCRIPTOR.fields:
            if field.name not in ENVELOPE:
                yield method, field


@pytest.mark.parametrize(("method", "field"), list(inputs()), ids=named)
def test_every_field_of_a_request_matters(method: Method, field: FieldDescriptor) -> None:
    """Without the field the call is refused, or asks for something else than with it."""
    request = smallest(method)
    request.ClearField(field.name)
    without = asked_or_missing(method, request)
    request.MergeFrom(method.request(**{field.name: filled(field)}))
    assert asked_or_missing(method, request) != without


@pytest.mark.parametrize("field", list(Write.DESCRIPTOR.fields), ids=named)
def test_every_field_of_a_write_matters(field: FieldDescriptor) -> None:
    """A write asks for something else with the field than without it."""
    asked = asked_by(Write(**{field.name: filled(field)}))
    assert asked._replace(request=None) != asked_by(Write())._replace(request=None)


def asked_or_missing(method: Method, request: Any) -> Any:
    """Return what a call asks for, or the fields for which it is refused."""
    try:
        return ask(method, request)
    except Refusal as refusal:
        return refusal.fields


@pytest.mark.parametrize("method", CHANGES, ids=named)
def test_every_change_asks_for_a_command_that_is_decided(method: Change) -> None:
    assert type(ask(method, smallest(method))) in decide._DECISIONS


def test_every_command_is_asked_for_by_a_call_and_decided() -> None:
    asked = {
        type(ask(method, smallest(method, alternative)))
        for method in CHANGES
        for alternative in range(len(alternatives(method)))
    }
    defined = {
        kind
        for kind in vars(commands).values()
        if isinstance(kind, type) and hasattr(kind, "touch") and kind is not Command and not kind.__subclasses__()
    }
    assert asked == set(decide._DECISIONS) == defined


@pytest.mark.parametrize(
    ("kind", "names", "prefix"),
    [
        (StudentState, student_pb2.StudentState, "STUDENT_STATE_"),
        (CourseState, course_pb2.CourseState, "COURSE_STATE_"),
        (EnrollmentState, enrollment_pb2.EnrollmentState, "ENROLLMENT_STATE_"),
        (EventType, event_pb2.EventType, "EVENT_TYPE_"),
    ],
)
def test_the_vocabulary_has_every_name_of_the_protos_and_no_other(kind: type[StrEnum], names: Any, prefix: str) -> None:
    assert list(kind) == [name.removeprefix(prefix) for name, number in names.items() if number != 0]


def test_verify_knows_every_event_type() -> None:
    assert {*COURSE_TRANSITIONS, *STUDENT_TRANSITIONS} == set(EventType)
