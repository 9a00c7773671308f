"""The calls of StudentService."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask

from registrar.v1 import student_pb2
from registrar.v1 import student_service_pb2 as pb
from registrar.v1.student_service_pb2_grpc import StudentServiceStub
from registrar_client import _convert as convert
from registrar_client import _fields as fields
from registrar_client._calls import Call, ListCall, Rpc
from registrar_client._convert import STUDENT_STATES
from registrar_client._enums import StudentState
from registrar_client._types import UNSET, Student, Unset

CREATE_STUDENT = Rpc(StudentServiceStub, "CreateStudent")
GET_STUDENT = Rpc(StudentServiceStub, "GetStudent")
LIST_STUDENTS = Rpc(StudentServiceStub, "ListStudents")
UPDATE_STUDENT = Rpc(StudentServiceStub, "UpdateStudent")
DELETE_STUDENT = Rpc(StudentServiceStub, "DeleteStudent")
UNDELETE_STUDENT = Rpc(StudentServiceStub, "UndeleteStudent")
PLACE_HOLD = Rpc(StudentServiceStub, "PlaceHold")
RELEASE_HOLD = Rpc(StudentServiceStub, "ReleaseHold")

_CONVERTERS: dict[str, Callable[[str, Any], Any]] = {"state": STUDENT_STATES.number, "max_credits": fields.decimal}


def _read_student(response: Any) -> Student:
    return convert.student(response.student)


def create(
    *,
    student_id: str = "",
    given_name: str = "",
    family_name: str = "",
    email: str = "",
    state: StudentState | None = None,
    max_credits: Decimal | int | str | None = None,
    request_id: str | UUID | None = None,
    timeout: float | None = None,
) -> Call[Student]:
    """Create a student.

    Args:
        student_id: The id, for ever; left out, the server makes one.
        given_name: Given name.
        family_name: Family name.
        email: E-mail address; need not be unique.
        state: Whether the student studies here; left out, ACTIVE.
        max_credits: The most credits in one term, with up to 3 decimals; left out, unlimited.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentExists: There is a student with this id, perhaps a deleted one.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    values = {
        "student_id": student_id,
        "given_name": given_name,
        "family_name": family_name,
        "email": email,
        "state": state,
        "max_credits": max_credits,
    }
    student = fields.message(student_pb2.Student, **fields.changes(values, _CONVERTERS))
    request = pb.CreateStudentRequest(student=student, request_id=fields.request_id(request_id))
    return Call(CREATE_STUDENT, request, _read_student, timeout)


def get(*, student_id: str, show_deleted: bool = False, timeout: float | None = None) -> Call[Student]:
    """Return one student.

    Args:
        student_id: The student.
        show_deleted: Return a deleted student too.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound: There is none with this id, or the student is deleted.
        RegistrarError: Any other failure.
    """
    request = fields.message(pb.GetStudentRequest, student_id=student_id, show_deleted=show_deleted)
    return Call(GET_STUDENT, request, _read_student, timeout)


def list_(
    *,
    query: str = "",
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> ListCall[Student]:
    """List students in the order of their ids.

    Nothing is asked of the server before the iteration starts; errors are raised there.

    Args:
        query: Words, each of which has to occur in the names or the e-mail address, in upper or lower case.
        show_deleted: List deleted students too.
        page_size: The most items per page, up to 1000; left out, the server's 50.
        page_token: Where to start, from an earlier page's ``next_page_token``.
        timeout: Seconds for all attempts at one page; left out, the client's.

    Raises:
        InvalidPageToken: The token is not from this list.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.ListStudentsRequest,
        query=query,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_STUDENTS, request, convert.student, attrgetter("students"), timeout)


def update(
    *,
    student_id: str,
    given_name: str | Unset | None = UNSET,
    family_name: str | Unset | None = UNSET,
    email: str | Unset | None = UNSET,
    state: StudentState | Unset | None = UNSET,
    max_credits: Decimal | int | str | Unset | None = UNSET,
    etag: str = "",
    request_id: str | UUID | None = None,
    timeout: float | None = None,
) -> Call[Student]:
    """Change a student: the fields that are passed, and no others; ``None`` clears a field.

    Args:
        student_id: The student.
        given_name: Given name.
        family_name: Family name.
        email: E-mail address.
        state: Whether the student studies here; cleared, ACTIVE.
        max_credits: The most credits in one term, with up to 3 decimals; cleared, unlimited.
        etag: Change only if this is still the student's etag; left out, in any case.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound: There is none with this id, or the student is deleted.
        EtagMismatch: Somebody else was faster; read the student again, and decide anew.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    values = {
        "given_name": given_name,
        "family_name": family_name,
        "email": email,
        "state": state,
        "max_credits": max_credits,
    }
    passed = fields.changes(values, _CONVERTERS)
    student = fields.message(student_pb2.Student, student_id=student_id, etag=etag, **passed)
    request = pb.UpdateStudentRequest(
        student=student, update_mask=FieldMask(paths=passed), request_id=fields.request_id(request_id)
    )
    return Call(UPDATE_STUDENT, request, _read_student, timeout)


def delete(
    *,
    student_id: str,
    etag: str = "",
    force: bool = False,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    timeout: float | None = None,
) -> Call[Student]:
    """Delete a student, softly: the record stays, and ``undelete`` brings it back.

    Args:
        student_id: The student.
        etag: Delete only if this is still the student's etag; left out, in any case.
        force: Delete in spite of live enrollments, and drop them.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound: There is none with this id, or the student is deleted already.
        EtagMismatch: Somebody else was faster; read the student again, and decide anew.
        StudentHasEnrollments: There are live enrollments, and ``force`` is not set.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.DeleteStudentRequest,
        student_id=student_id,
        etag=etag,
        force=force,
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
    )
    return Call(DELETE_STUDENT, request, _read_student, timeout)


def undelete(*, student_id: str, request_id: str | UUID | None = None, timeout: float | None = None) -> Call[Student]:
    """Bring a deleted student back; enrollments that the deletion dropped stay dropped.

    Args:
        student_id: The student; one that is not deleted is returned as it is.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound: There never was a student with this id.
        RegistrarError: Any other failure.
    """
    request = fields.message(pb.UndeleteStudentRequest, student_id=student_id, request_id=fields.request_id(request_id))
    return Call(UNDELETE_STUDENT, request, _read_student, timeout)


def place_hold(
    *,
    student_id: str,
    code: str,
    reason: str = "",
    request_id: str | UUID | None = None,
    timeout: float | None = None,
) -> Call[Student]:
    """Place a hold on a student, who can then neither enroll nor be promoted from a waitlist.

    A hold of the same code is replaced. No enrollment is dropped, and the student's ``etag`` changes.

    Args:
        student_id: The student.
        code: Which kind of hold it is, such as ``BURSAR``, up to 64 characters.
        reason: What it is about, for people; shown to those whom it keeps from enrolling.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound: There is none with this id, or the student is deleted.
        InvalidField: The server refuses a value; ``field_violations`` names all of them.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.PlaceHoldRequest,
        student_id=student_id,
        code=code,
        reason=reason,
        request_id=fields.request_id(request_id),
    )
    return Call(PLACE_HOLD, request, _read_student, timeout)


def release_hold(
    *, student_id: str, code: str, request_id: str | UUID | None = None, timeout: float | None = None
) -> Call[Student]:
    """Release a hold on a student. Nobody is promoted by it: that takes a free seat, or somebody who asks for one.

    Args:
        student_id: The student.
        code: The code of the hold.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound: There is none with this id, or the student is deleted.
        HoldNotFound: The student has no hold of this code.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.ReleaseHoldRequest, student_id=student_id, code=code, request_id=fields.request_id(request_id)
    )
    return Call(RELEASE_HOLD, request, _read_student, timeout)
