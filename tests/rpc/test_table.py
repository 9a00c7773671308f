"""The table of RPCs: each has a row with its own messages, and the row names the ids for the log."""

from __future__ import annotations

import importlib
import pkgutil
import runpy
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from registrar import v1
from registrar.v1 import batch_service_pb2 as batches
from registrar.v1 import course_service_pb2 as courses
from registrar.v1 import enrollment_service_pb2 as enrollments
from registrar.v1 import history_service_pb2 as history
from registrar.v1 import student_service_pb2 as students
from registrar.v1.batch_service_pb2 import Write, WriteResult
from registrar.v1.course_pb2 import Course
from registrar.v1.enrollment_pb2 import Enrollment
from registrar.v1.student_pb2 import Student
from registrar_server.rpc import batch_requests, course_changes, history_reads, table
from registrar_server.rpc.batch_requests import BATCH_WRITE
from registrar_server.rpc.methods import MAX_LOGGED_CHARACTERS, Change, LookupPlan, Method, QueryPlan, Read, Watch
from registrar_server.rpc.table import METHODS
from registrar_server.rpc.validation import Fields
from tests.support.contract import filled

ROWS = [method for methods in METHODS.values() for method in methods.values()]
CHANGES = [method for method in ROWS if isinstance(method, Change)]


def modules() -> list[ModuleType]:
    """Return the modules that are generated from the protos."""
    names = [module.name for module in pkgutil.iter_modules(v1.__path__) if module.name.endswith("_pb2")]
    return [importlib.import_module(f"registrar.v1.{name}") for name in names]


def services() -> list[ServiceDescriptor]:
    """Return all services of the protos."""
    return [service for module in modules() for service in module.DESCRIPTOR.services_by_name.values()]


def rpc_of(method: Method) -> MethodDescriptor:
    """Return the RPC whose row this is, as the protos describe it."""
    (found,) = (
        service.methods_by_name[name]
        for service in services()
        for name, row in METHODS[service.full_name].items()
        if row is method
    )
    return found


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Method) else ""


def test_every_rpc_has_a_row_and_every_row_an_rpc() -> None:
    assert {service.full_name: set(service.methods_by_name) for service in services()} == {
        service: set(methods) for service, methods in METHODS.items()
    }


def test_an_rpc_without_a_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course_changes, "CHANGES", course_changes.CHANGES[1:])
    with pytest.raises(RuntimeError, match=r"registrar\.v1\.CourseService and its rows differ: .*CreateCourse"):
        runpy.run_path(table.__file__)


@pytest.mark.parametrize(
    ("surplus", "name"),
    [(course_changes.CHANGES[:1], "CreateCourse"), (history_reads.ROWS, "ListEvents")],
    ids=["of-another-service", "twice"],
)
def test_a_row_without_an_rpc_is_refused(monkeypatch: pytest.MonkeyPatch, surplus: Any, name: str) -> None:
    monkeypatch.setattr(history_reads, "ROWS", (*history_reads.ROWS, *surplus))
    with pytest.raises(RuntimeError, match=rf"registrar\.v1\.HistoryService and its rows differ: .*{name}"):
        runpy.run_path(table.__file__)


@pytest.mark.parametrize("method", ROWS, ids=name_of)
def test_a_row_has_the_messages_of_its_rpc(method: Method) -> None:
    rpc = rpc_of(method)
    assert method.name == rpc.name
    assert method.request.DESCRIPTOR is rpc.input_type
    assert method.response.DESCRIPTOR is rpc.output_type


def test_the_changes_are_the_rpcs_with_a_request_id() -> None:
    with_request_id = [row for row in ROWS if "request_id" in rpc_of(row).input_type.fields_by_name]
    assert with_request_id == [*CHANGES, BATCH_WRITE]


def test_every_change_can_be_a_write_of_a_batch() -> None:
    """A write has the request of any change, and its result the response to it, in a field of the same name."""
    assert sorted(batch_requests.CHANGES.values(), key=name_of) == sorted(CHANGES, key=name_of)
    for name, change in batch_requests.CHANGES.items():
        assert "".join(word.capitalize() for word in name.split("_")) == change.name
        assert Write.DESCRIPTOR.fields_by_name[name].message_type is change.request.DESCRIPTOR
        assert WriteResult.DESCRIPTOR.fields_by_name[name].message_type is change.response.DESCRIPTOR
    assert {field.name for field in Write.DESCRIPTOR.fields} == {*batch_requests.CHANGES, "timeout"}
    assert {field.name for field in WriteResult.DESCRIPTOR.fields} == {*batch_requests.CHANGES, "error"}


@pytest.mark.parametrize(
    "changes",
    [course_changes.CHANGES[1:], (*course_changes.CHANGES, *history_reads.ROWS)],
    ids=["without-a-change", "without-a-field"],
)
def test_a_change_that_no_write_can_name_is_refused(monkeypatch: pytest.MonkeyPatch, changes: Any) -> None:
    monkeypatch.setattr(course_changes, "CHANGES", changes)
    with pytest.raises(RuntimeError, match=r"the fields of registrar\.v1\.Write and the changes differ"):
        runpy.run_path(batch_requests.__file__)


@pytest.mark.parametrize("method", ROWS, ids=name_of)
def test_a_preview_can_be_asked_for_where_the_protos_say_so(method: Method) -> None:
    asks = "validate_only" in rpc_of(method).input_type.fields_by_name
    assert asks == (method is BATCH_WRITE or (isinstance(method, Change) and method.takes_validate_only))


def test_the_watches_are_the_rpcs_whose_responses_are_a_stream() -> None:
    """All requests are single messages."""
    assert [row for row in ROWS if rpc_of(row).server_streaming] == [row for row in ROWS if isinstance(row, Watch)]
    assert not [row for row in ROWS if rpc_of(row).client_streaming]


def test_refused_enrollments_have_a_line_of_their_own() -> None:
    logged = {method.name for method in CHANGES if method.refused_event}
    assert {method.refused_event for method in CHANGES} == {"", "enrollment_refused"}
    assert logged == {method.name for method in CHANGES if "Enrollment" in rpc_of(method).containing_service.name}


@pytest.mark.parametrize("method", [row for row in ROWS if isinstance(row, Read)], ids=name_of)
def test_reads_by_id_are_lookups_and_lists_are_queries(method: Read) -> None:
    """The first page of ListCourses is a lookup too; ``test_read_plans.py`` has its cases."""
    fields = {field.name: filled(field) for field in method.request.DESCRIPTOR.fields if field.name.endswith("_id")}
    plan = method.plan(Fields(), method.request(**fields))
    assert isinstance(plan, LookupPlan if method.name.startswith("Get") or method.name == "ListCourses" else QueryPlan)


IDS_OF_REQUESTS: list[tuple[Any, dict[str, Any]]] = [
    (
        enrollments.EnrollStudentRequest(student_id="s-1", course_id="c-1", request_id="r-1", comment="x"),
        {"student_id": "s-1", "course_id": "c-1", "request_id": "r-1"},
    ),
    (
        enrollments.SwapEnrollmentRequest(student_id="s-1", from_course_id="c-1", to_course_id="c-2"),
        {"student_id": "s-1", "from_course_id": "c-1", "to_course_id": "c-2"},
    ),
    (enrollments.CompleteEnrollmentRequest(enrollment_id="e-1"), {"enrollment_id": "e-1"}),
    (students.UpdateStudentRequest(student=Student(student_id="s-1", email="x")), {"student_id": "s-1"}),
    (
        courses.CreateCourseRequest(course=Course(course_id="c-1", prerequisite_course_ids=["c-2"]), request_id="r-1"),
        {"course_id": "c-1", "request_id": "r-1"},
    ),
    (courses.CreateCourseRequest(), {}),
    (courses.SearchCoursesRequest(query="x"), {}),
    (history.ListEventsRequest(enrollment_id="e-1", actor="x"), {"enrollment_id": "e-1"}),
    (history.WatchEventsRequest(student_id="s-1", actor="x"), {"student_id": "s-1"}),
    (batches.BatchWriteRequest(writes=[Write(), Write()], request_id="r-1"), {"request_id": "r-1", "writes": 2}),
    (batches.BatchWriteRequest(), {"writes": 0}),
]
IDS_OF_RESPONSES: list[tuple[Any, dict[str, Any]]] = [
    (
        enrollments.EnrollStudentResponse(
            enrollment=Enrollment(enrollment_id="e-1", student_id="s-1", course_id="c-1"),
            promoted=[Enrollment(enrollment_id="e-2")],
        ),
        {"enrollment_id": "e-1", "student_id": "s-1", "course_id": "c-1"},
    ),
    (enrollments.UnenrollResponse(), {}),
    (students.CreateStudentResponse(student=Student(student_id="s-1")), {"student_id": "s-1"}),
    (courses.GetCourseResponse(course=Course(course_id="c-1")), {"course_id": "c-1"}),
    (courses.SettleCourseResponse(promoted=[Enrollment(enrollment_id="e-1")], promoted_count=1), {}),
    (batches.BatchWriteResponse(results=[WriteResult(), WriteResult()], refused_count=1), {"refused": 1}),
]


def row_of(message: Any) -> Method:
    (row,) = (row for row in ROWS if type(message) in (row.request, row.response))
    return row


def ids_in(message: Any) -> dict[str, Any]:
    """Return what the log says of a request or a response."""
    row, line = row_of(message), dict[str, Any]()
    read = row.ids_of_request if type(message) is row.request else row.ids_of_response
    read(message, line)
    return line


@pytest.mark.parametrize(("request_", "ids"), IDS_OF_REQUESTS, ids=lambda value: type(value).__name__)
def test_the_log_names_the_ids_in_a_request_that_are_set(request_: Any, ids: dict[str, Any]) -> None:
    assert ids_in(request_) == ids


@pytest.mark.parametrize(("response", "ids"), IDS_OF_RESPONSES, ids=lambda value: type(value).__name__)
def test_the_log_names_the_ids_of_the_resource_in_a_response(response: Any, ids: dict[str, Any]) -> None:
    assert ids_in(response) == ids


def test_ids_are_truncated_and_escaped_for_the_log() -> None:
    request = courses.GetCourseRequest(course_id="\x1b[2J" + "x" * 1_000)
    assert ids_in(request) == {"course_id": "\\x1b[2J" + "x" * (MAX_LOGGED_CHARACTERS - len("\x1b[2J"))}


@pytest.mark.parametrize("method", ROWS, ids=name_of)
def test_every_id_at_the_top_of_a_request_can_be_in_the_log(method: Method) -> None:
    request = method.request(**{field.name: filled(field) for field in method.request.DESCRIPTOR.fields})
    names = {name for name in method.request.DESCRIPTOR.fields_by_name if name.endswith("_id")}
    assert names <= ids_in(request).keys()
