"""The calls of StudentService."""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Any, Unpack
from uuid import UUID

from registrar.v1 import student_service_pb2 as pb
from registrar.v1.student_service_pb2_grpc import StudentServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, CallOptions, ListCall, Rpc
from registrar_client._enums import StudentState
from registrar_client._from_wire import read, reader
from registrar_client._results import DeletedStudent
from registrar_client._types import UNSET, Student, Unset

CREATE_STUDENT = Rpc(StudentServiceStub, "CreateStudent")
GET_STUDENT = Rpc(StudentServiceStub, "GetStudent")
LIST_STUDENTS = Rpc(StudentServiceStub, "ListStudents")
UPDATE_STUDENT = Rpc(StudentServiceStub, "UpdateStudent")
DELETE_STUDENT = Rpc(StudentServiceStub, "DeleteStudent")
UNDELETE_STUDENT = Rpc(StudentServiceStub, "UndeleteStudent")
PLACE_HOLD = Rpc(StudentServiceStub, "PlaceHold")
RELEASE_HOLD = Rpc(StudentServiceStub, "ReleaseHold")


def _read_student(response: Any) -> Student:
    return read(Student, response.student)


def create(
    *,
    student_id: str = "",
    given_name: str = "",
    family_name: str = "",
    email: str = "",
    state: StudentState | None = None,
    max_credits: Decimal | int | str | None = None,
    request_id: str | UUID | None = None,
    **options: Unpack[CallOptions],
) -> Call[Student]:
    """Create a student.

    Args:
        student_id: The id, which never changes. By default, the server makes one.
        given_name: Given name.
        family_name: Family name.
        email: E-mail address. It need not be unique.
        state: Whether the student studies here. Defaults to ACTIVE.
        max_credits: The maximum credits in one term, with up to 3 decimals. By default, the credits are unlimited.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        StudentExists: A student has this id already. The student may be deleted.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    passed = to_wire.fields(Student, locals())
    request = to_wire.message(pb.CreateStudentRequest, student=passed, request_id=to_wire.request_id(request_id))
    return Call(CREATE_STUDENT, request, _read_student, **options)


def get(*, student_id: str, show_deleted: bool = False, **options: Unpack[CallOptions]) -> Call[Student]:
    """Return one student.

    Args:
        student_id: The student.
        show_deleted: Also return a deleted student.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(pb.GetStudentRequest, student_id=student_id, show_deleted=show_deleted)
    return Call(GET_STUDENT, request, _read_student, **options)


def list_(
    *,
    query: str = "",
    hold_code: str = "",
    state: StudentState | None = None,
    show_deleted: bool = False,
    page_size: int = 0,
    page_token: str = "",
    **options: Unpack[CallOptions],
) -> ListCall[Student]:
    """List students in the order of their ids.

    The first request is sent when the iteration starts, and errors are raised there.

    Args:
        query: Words that must all occur in the id, the names or the e-mail address. Case and accents do not matter.
        hold_code: Only students with a hold of this code. Case does not matter.
        state: Only students in this state.
        show_deleted: Also list deleted students.
        page_size: The maximum number of items per page, up to 1000. Defaults to 50.
        page_token: The page to start with: the ``next_page_token`` of an earlier page.

    Raises:
        InvalidPageToken: The token is not from this list with these filters.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.ListStudentsRequest,
        query=query,
        hold_code=hold_code,
        state=state,
        show_deleted=show_deleted,
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_STUDENTS, request, reader(Student), attrgetter("students"), **options)


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
    allow_missing: bool = False,
    **options: Unpack[CallOptions],
) -> Call[Student]:
    """Change the fields of a student that are passed. ``None`` clears a field.

    Args:
        student_id: The student.
        given_name: Given name.
        family_name: Family name.
        email: E-mail address.
        state: Whether the student studies here. Cleared, it is ACTIVE.
        max_credits: The maximum credits in one term, with up to 3 decimals. Cleared, they are unlimited.
        etag: Change only if the student still has this etag. By default, the etag is not checked.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        allow_missing: Create the student with the passed fields if no student has ever had this id.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        EtagMismatch: The student has another etag. Read it again and decide whether to repeat the call. With
            ``allow_missing``, also if no student has this id.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    passed = to_wire.fields(Student, locals())
    request = to_wire.message(
        pb.UpdateStudentRequest,
        student=passed,
        update_mask=to_wire.update_mask(passed),
        request_id=to_wire.request_id(request_id),
        allow_missing=allow_missing,
    )
    return Call(UPDATE_STUDENT, request, _read_student, **options)


def delete(
    *,
    student_id: str,
    etag: str = "",
    force: bool = False,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    **options: Unpack[CallOptions],
) -> Call[DeletedStudent]:
    """Delete a student. The record stays, and ``undelete`` restores it.

    With ``force``, ``dropped`` lists the enrollments that ended and ``promoted`` those that got the seats.

    Args:
        student_id: The student.
        etag: Delete only if the student still has this etag. By default, the etag is not checked.
        force: Delete even if there are live enrollments, and drop them.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.
        validate_only: Return what the call would return, but change nothing.

    Raises:
        StudentNotFound: No student has this id, or the student is already deleted.
        EtagMismatch: The student has another etag. Read it again and decide whether to repeat the call.
        StudentHasEnrollments: There are live enrollments, and ``force`` is not set.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.DeleteStudentRequest,
        student_id=student_id,
        etag=etag,
        force=force,
        request_id=to_wire.request_id(request_id),
        validate_only=validate_only,
    )
    return Call(DELETE_STUDENT, request, reader(DeletedStudent), **options)


def undelete(*, student_id: str, request_id: str | UUID | None = None, **options: Unpack[CallOptions]) -> Call[Student]:
    """Restore a deleted student. Enrollments that the deletion dropped stay dropped.

    Args:
        student_id: The student. A student who is not deleted is returned unchanged.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        StudentNotFound: No student has ever had this id.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.UndeleteStudentRequest, student_id=student_id, request_id=to_wire.request_id(request_id)
    )
    return Call(UNDELETE_STUDENT, request, _read_student, **options)


def place_hold(
    *,
    student_id: str,
    code: str,
    reason: str = "",
    request_id: str | UUID | None = None,
    **options: Unpack[CallOptions],
) -> Call[Student]:
    """Place a hold on a student, who can then neither enroll nor be promoted from a waitlist.

    The hold replaces a hold with the same code, in any case. It drops no enrollment and changes the student's ``etag``.
    A student has at most 32 holds.

    Args:
        student_id: The student.
        code: The kind of hold, such as ``BURSAR``, up to 64 characters.
        reason: The reason, for people. The server shows it when the hold refuses an enrollment.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        InvalidField: The server refuses values. ``field_violations`` lists all of them.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.PlaceHoldRequest,
        student_id=student_id,
        code=code,
        reason=reason,
        request_id=to_wire.request_id(request_id),
    )
    return Call(PLACE_HOLD, request, _read_student, **options)


def release_hold(
    *, student_id: str, code: str, request_id: str | UUID | None = None, **options: Unpack[CallOptions]
) -> Call[Student]:
    """Release a hold on a student.

    If the student waits for a free seat and no other rule refuses it, the server promotes the student within a minute.
    ``courses.settle`` does so at once.

    Args:
        student_id: The student.
        code: The code of the hold.
        request_id: A UUID that makes it safe to repeat the call. By default, the client makes one.

    Raises:
        StudentNotFound: No student has this id, or the student is deleted.
        HoldNotFound: The student has no hold with this code.
        RegistrarError: Any other failure.
    """
    request = to_wire.message(
        pb.ReleaseHoldRequest, student_id=student_id, code=code, request_id=to_wire.request_id(request_id)
    )
    return Call(RELEASE_HOLD, request, _read_student, **options)
