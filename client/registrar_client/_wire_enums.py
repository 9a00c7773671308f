"""Pairs the enums of the client with those of the protos."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.type import dayofweek_pb2

from registrar.v1 import course_pb2, enrollment_pb2, error_reason_pb2, event_pb2, student_pb2
from registrar_client._enums import CourseState, EnrollmentState, ErrorReason, EventType, StudentState, Weekday

Member = TypeVar("Member", bound=StrEnum)


class _Names(Protocol):
    DESCRIPTOR: EnumDescriptor

    def items(self) -> Iterable[tuple[str, int]]: ...


class _Members(dict[int, Member]):
    """The members by number, with ``UNKNOWN`` for the numbers that a newer server added."""

    def __init__(self, members: Iterable[tuple[int, Member]], unknown: Member) -> None:
        super().__init__(members)
        self._unknown = unknown

    def __missing__(self, number: int) -> Member:
        return self._unknown


class EnumTable(Generic[Member]):
    """Maps the numbers of a protobuf enum to members of a client enum, and back."""

    def __init__(self, kind: type[Member], names: _Names, prefix: str = "") -> None:
        known = {str(member): member for member in kind}
        pairs = [(number, known.get(name.removeprefix(prefix))) for name, number in names.items()]
        members = _Members(((number, member) for number, member in pairs if member is not None), kind("UNKNOWN"))
        self.member: Callable[[int], Member] = members.__getitem__
        """Returns the member for a number, ``UNKNOWN`` for a number that a newer server added."""
        self._numbers: dict[str, int] = {member: number for number, member in members.items()}

    @property
    def names(self) -> Iterable[str]:
        """The names of the members that have a number."""
        return self._numbers

    def number(self, member: str) -> int | None:
        """Return the number for a member or its name, None for any other value."""
        try:
            return self._numbers.get(member)
        except TypeError:
            # The value is not hashable, so it is no member.
            return None


_ENUMS: tuple[tuple[type[StrEnum], _Names, str], ...] = (
    (CourseState, course_pb2.CourseState, "COURSE_STATE_"),
    (EnrollmentState, enrollment_pb2.EnrollmentState, "ENROLLMENT_STATE_"),
    (ErrorReason, error_reason_pb2.ErrorReason, "ERROR_REASON_"),
    (EventType, event_pb2.EventType, "EVENT_TYPE_"),
    (StudentState, student_pb2.StudentState, "STUDENT_STATE_"),
    (Weekday, dayofweek_pb2.DayOfWeek, ""),
)
_TABLES = {kind: EnumTable(kind, names, prefix) for kind, names, prefix in _ENUMS}
_KINDS = {names.DESCRIPTOR.full_name: kind for kind, names, _ in _ENUMS}


def enum_table(kind: type[StrEnum]) -> EnumTable[StrEnum]:
    """Return the table of a client enum."""
    return _TABLES[kind]


def enum_of(full_name: str) -> type[StrEnum]:
    """Return the client enum for a protobuf enum."""
    return _KINDS[full_name]
