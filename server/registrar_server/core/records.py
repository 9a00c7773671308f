"""The values decided over: one slotted record per row, its fields in the order of the table's columns.

Records are plain and mutable. They live for one batch, inside one transaction, in one thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, Self

from registrar_server.errors import Reason, Violation

LIVE_STATES = ("ENROLLED", "WAITLISTED")
EMPTY = "[]"


class Hold(NamedTuple):
    """A hold on a student; ``place_time`` in microseconds since 1970 UTC."""

    code: str
    reason: str
    place_time: int


class Meeting(NamedTuple):
    """When and where a course meets, in campus wall-clock time.

    ``weekdays`` are ISO numbers (Monday is 1), ``start`` and ``end`` whole seconds of the day (24:00 is 86,400) or
    absent, the dates ISO 8601 or empty.
    """

    weekdays: tuple[int, ...]
    start: int | None
    end: int | None
    start_date: str
    end_date: str
    location: str


def decode_meetings(document: str) -> tuple[Meeting, ...]:
    """Read the stored document of a course's meetings."""
    # Courses repeat it on every load, so short ones, as nearly all are, are read once; long ones would fill the memory.
    read = _decode_meetings if len(document) <= 1000 else _decode_meetings.__wrapped__
    return read(document)


@lru_cache(maxsize=4096)
def _decode_meetings(document: str) -> tuple[Meeting, ...]:
    return tuple(Meeting(tuple(weekdays), *rest) for weekdays, *rest in json.loads(document))


def decode_holds(document: str) -> tuple[Hold, ...]:
    """Read the stored document of a student's holds."""
    return () if document == EMPTY else tuple(Hold(*hold) for hold in json.loads(document))


def decode_names(document: str) -> tuple[str, ...]:
    """Read a stored list of names, such as ids or reasons."""
    return () if document == EMPTY else tuple(json.loads(document))


def decode_violations(document: str) -> tuple[Violation, ...]:
    """Read a stored list of violations."""
    if document == EMPTY:
        return ()
    return tuple(Violation(Reason(reason), *rest) for reason, *rest in json.loads(document))


def encode(document: Sequence[Any]) -> str:
    """Write a list of names, meetings, holds or violations as its stored document."""
    if not document:
        return EMPTY
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True)
class Student:
    """A row of ``students``; credits in thousandths, times in microseconds since 1970 UTC."""

    student_id: str
    given_name: str = ""
    family_name: str = ""
    email: str = ""
    state: str = "ACTIVE"
    max_credits: int | None = None
    holds: tuple[Hold, ...] = ()
    version: int = 1
    create_time: int = 0
    update_time: int = 0
    delete_time: int | None = None
    search_text: str = ""

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Make the record of a row as the ledger loads it, documents as text."""
        student = cls(*row)
        student.holds = decode_holds(row[6])
        return student

    def describe(self) -> str:
        """The text that searches look in."""
        return f"{self.given_name} {self.family_name} {self.email}".casefold()


@dataclass(slots=True)
class Course:
    """A row of ``courses``; credits in thousandths, times in microseconds since 1970 UTC."""

    course_id: str
    code: str = ""
    title: str = ""
    description: str = ""
    term: str = ""
    credits: int = 0
    capacity: int | None = None
    waitlist_capacity: int | None = None
    enroll_open_time: int | None = None
    enroll_close_time: int | None = None
    drop_deadline_time: int | None = None
    meetings: tuple[Meeting, ...] = ()
    prerequisite_course_ids: tuple[str, ...] = ()
    state: str = "OPEN"
    version: int = 1
    create_time: int = 0
    update_time: int = 0
    delete_time: int | None = None
    search_text: str = ""
    enrolled_count: int = 0
    waitlisted_count: int = 0
    last_number: int = 0

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Make the record of a row as the ledger loads it, documents as text."""
        course = cls(*row)
        course.meetings = decode_meetings(row[11])
        course.prerequisite_course_ids = decode_names(row[12])
        return course

    def describe(self) -> str:
        """The text that searches look in."""
        return f"{self.code} {self.title}".casefold()

    @property
    def seats_available(self) -> int | None:
        """Free seats, never negative; absent when capacity is unlimited."""
        return None if self.capacity is None else max(0, self.capacity - self.enrolled_count)


@dataclass(slots=True)
class Enrollment:
    """A row of ``enrollments``; times in microseconds since 1970 UTC."""

    course_id: str
    enrollment_id: str
    student_id: str
    number: int
    attempt: int
    state: str
    grade: str = ""
    passed: bool | None = None
    bypassed_rules: tuple[str, ...] = ()
    reason: str = ""
    version: int = 1
    create_time: int = 0
    update_time: int = 0
    end_time: int | None = None
    last_skip: tuple[Violation, ...] = ()
    waitlist_position: int = 0
    """Counted when it is asked for, from 1, and never stored; 0 where nobody asked or nobody waits."""

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Make the record of a row as the ledger loads it, documents as text."""
        enrollment = cls(*row)
        enrollment.bypassed_rules = decode_names(row[8])
        enrollment.last_skip = decode_violations(row[14])
        if enrollment.passed is not None:
            enrollment.passed = bool(enrollment.passed)  # SQLite answers 0 and 1.
        return enrollment

    @property
    def live(self) -> bool:
        """Whether this enrollment holds a seat or a place in the queue."""
        return self.end_time is None

    @property
    def waits(self) -> bool:
        """Whether this enrollment holds a place in the queue."""
        return self.state == "WAITLISTED"


class Commitment(NamedTuple):
    """What a seat asks of a student: the fields of its course that the rules look at, credits in thousandths."""

    course_id: str
    term: str
    credits: int
    meetings: tuple[Meeting, ...]


class Subject(NamedTuple):
    """What a prerequisite asks for, and a completion gives: a course, or any other of the same non-empty code."""

    course_id: str
    code: str


class Change(NamedTuple):
    """One field's value before and after, as people read it; None where it had no value."""

    field: str
    before: str | None
    after: str | None


class Event(NamedTuple):
    """A row of ``events`` but for its revision, which is given when the batch is written."""

    course_id: str
    event_id: str
    type: str
    time: int
    actor: str
    student_id: str
    enrollment_id: str
    state: str
    previous_state: str
    capacity: int | None
    enrolled_count: int | None
    waitlisted_count: int | None
    enrollment_version: int | None
    grade: str
    passed: bool | None
    reason: str
    comment: str
    bypassed_rules: str
    changes: str
    violations: str
    request_id: str


class StoredResponse(NamedTuple):
    """A row of ``request_ids``: what was answered to a caller's ``request_id``, and to which content."""

    caller: str
    request_id: str
    fingerprint: bytes
    response: bytes
    create_time: int


STUDENT_COLUMNS = tuple(field.name for field in fields(Student))
COURSE_COLUMNS = tuple(field.name for field in fields(Course))
ENROLLMENT_COLUMNS = tuple(field.name for field in fields(Enrollment) if field.name != "waitlist_position")

_DOCUMENTS = frozenset({"holds", "meetings", "prerequisite_course_ids", "bypassed_rules", "last_skip"})


def row_maker(columns: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that reads ``columns`` off a record as a row to store, documents as text."""
    read = attrgetter(*columns)
    documents = [place for place, column in enumerate(columns) if column in _DOCUMENTS]
    if not documents:
        return read

    def make(record: Any) -> tuple[Any, ...]:
        row = list(read(record))
        for place in documents:
            row[place] = encode(row[place])
        return tuple(row)

    return make
