"""The table of who may make which call, beside the table of the RPCs. What is not in it is refused to everyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from registrar_server.identity.callers import Caller, Permission, Role
from registrar_server.identity.rejections import role_required

SameStudent = Callable[[Any, str], bool]


class Access(NamedTuple):
    """Who may make a call."""

    role: Role
    """The lowest role of the staff."""
    student: SameStudent | None = None
    """Whether a student may make the call with this request, given the student's id; None for no student."""


def _own(request: Any, student_id: str) -> bool:
    """The request names the student."""
    return bool(request.student_id == student_id)


def _own_events(request: Any, student_id: str) -> bool:
    """The request names the student, and does not ask who made the changes, which students do not see."""
    return _own(request, student_id) and not any(getattr(request, name, "") for name in ("actor", "on_behalf_of"))


def _any(_request: Any, _student_id: str) -> bool:
    """Students may make the call for everything: the catalogue, and what is checked later."""
    return True


_READER, _REGISTRAR, _ADMIN = Access(Role.READER), Access(Role.REGISTRAR), Access(Role.ADMIN)

ACCESS: Mapping[str, Access] = MappingProxyType(
    {
        "EnrollStudent": Access(Role.REGISTRAR, _own),
        "Unenroll": Access(Role.REGISTRAR, _own),
        "SwapEnrollment": Access(Role.REGISTRAR, _own),
        "CompleteEnrollment": _REGISTRAR,
        "RecordCompletion": _REGISTRAR,
        "VoidCompletion": _REGISTRAR,
        "SettleCourse": _REGISTRAR,
        "ListCourses": Access(Role.READER, _own),
        # The answer to a student shows whose enrollment it is.
        "GetEnrollment": Access(Role.READER, _any),
        "ListEnrollments": Access(Role.READER, _own),
        "ListRoster": _READER,
        "ListEvents": Access(Role.READER, _own_events),
        "WatchEvents": Access(Role.READER, _own_events),
        "GetStudent": Access(Role.READER, _own),
        "ListStudents": _READER,
        "CreateStudent": _ADMIN,
        "UpdateStudent": _ADMIN,
        "DeleteStudent": _ADMIN,
        "UndeleteStudent": _ADMIN,
        "PlaceHold": _ADMIN,
        "ReleaseHold": _ADMIN,
        "GetCourse": Access(Role.READER, _any),
        "SearchCourses": Access(Role.READER, _any),
        "CreateCourse": _ADMIN,
        "UpdateCourse": _ADMIN,
        "DeleteCourse": _ADMIN,
        "UndeleteCourse": _ADMIN,
        # Each write of a batch is checked as a call of its own.
        "BatchWrite": Access(Role.READER, _any),
    }
)
"""Who may make a call, by the name of the RPC."""


def check_role(caller: Caller, name: str) -> Access:
    """Refuse a caller with ROLE_REQUIRED who may make no call of this RPC, whatever the request is.

    Returns who may make the call.
    """
    access = ACCESS.get(name)
    if access is None:
        raise role_required(Role.ADMIN, f"No role may call {name}.")
    is_student = Role.STUDENT in caller.roles and caller.student_id
    if access.role not in caller.roles and not (access.student and is_student):
        raise role_required(access.role)
    return access


def check_request(caller: Caller, name: str, request: Any) -> bool:
    """Refuse a caller with ROLE_REQUIRED who may not make this call; return whether it is made as a student."""
    access = check_role(caller, name)
    as_student = access.role not in caller.roles
    if as_student and not (access.student and access.student(request, caller.student_id)):
        raise role_required(
            access.role, f"Students may do this only for themselves: for others it needs the role {access.role}."
        )
    if "override" in request.DESCRIPTOR.fields_by_name and request.HasField("override"):
        _check_override(caller, access, as_student=as_student)
    return as_student


def _check_override(caller: Caller, access: Access, *, as_student: bool) -> None:
    if as_student:
        needed = f"the role {access.role} and the permission {Permission.OVERRIDE}"
        raise role_required(access.role, f"Students may not set rules aside: that needs {needed}.")
    if Permission.OVERRIDE not in caller.permissions:
        raise role_required(Permission.OVERRIDE)
