"""The values that decisions work on: one slotted record per row, its fields named as the columns.

Students, courses and enrollments are mutable. They live for one batch, inside one transaction. Times are
microseconds since 1970 UTC, credits are thousandths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, NamedTuple

from registrar_server.core import keys
from registrar_server.core.kinds import (
    Choice,
    Count,
    Credits,
    Email,
    Ids,
    Kind,
    Label,
    LongText,
    Meetings,
    Text,
    Time,
    kinds_of,
)
from registrar_server.core.schedule import Meeting
from registrar_server.core.vocabulary import CourseState, EnrollmentState, EventType, StudentState
from registrar_server.errors import Violation

# Every decision and every page asks which enrollments wait, and a member of an enum takes long to look up.
_WAITLISTED = EnrollmentState.WAITLISTED


class Hold(NamedTuple):
    """A hold on a student."""

    code: str
    reason: str
    place_time: int


@dataclass(slots=True)
class Student:
    """A row of ``students``. Callers may set the fields that are annotated with a kind."""

    student_id: str
    given_name: Annotated[str, Text(200)] = ""
    family_name: Annotated[str, Text(200)] = ""
    email: Annotated[str, Email()] = ""
    state: Annotated[StudentState, Choice()] = StudentState.ACTIVE
    max_credits: Annotated[int | None, Credits()] = None
    holds: tuple[Hold, ...] = ()
    version: int = 1
    create_time: int = 0
    update_time: int = 0
    delete_time: int | None = None

    @property
    def hold_keys(self) -> tuple[str, ...]:
        """The keys of the holds' codes, in the order of the holds."""
        return tuple(keys.text_key(hold.code) for hold in self.holds)

    @property
    def search_text(self) -> str:
        """The text that searches look in."""
        return keys.search_text(self.student_id, self.given_name, self.family_name, self.email)

    @property
    def sort_name(self) -> str:
        """The text by which students are sorted."""
        return keys.sort_name(self.family_name, self.given_name)

    @property
    def keys_version(self) -> int:
        """The version that the keys and the search text belong to."""
        return self.version


@dataclass(slots=True)
class Course:
    """A row of ``courses``. Callers may set the fields that are annotated with a kind."""

    course_id: str
    code: Annotated[str, Label(64)] = ""
    title: Annotated[str, Text(500)] = ""
    description: Annotated[str, LongText(10_000)] = ""
    term: Annotated[str, Label(64)] = ""
    component: Annotated[str, Label(64)] = ""
    credits: Annotated[int, Credits()] = 0
    capacity: Annotated[int | None, Count()] = None
    waitlist_capacity: Annotated[int | None, Count()] = None
    enroll_open_time: Annotated[int | None, Time()] = None
    enroll_close_time: Annotated[int | None, Time()] = None
    drop_deadline_time: Annotated[int | None, Time()] = None
    meetings: Annotated[tuple[Meeting, ...], Meetings()] = ()
    prerequisite_course_ids: Annotated[tuple[str, ...], Ids()] = ()
    state: Annotated[CourseState, Choice()] = CourseState.OPEN
    version: int = 1
    create_time: int = 0
    update_time: int = 0
    delete_time: int | None = None
    enrolled_count: int = 0
    waitlisted_count: int = 0
    completed_count: int = 0
    last_number: int = 0

    @property
    def code_key(self) -> str:
        """The key of the code: offerings with the same key that is not empty have the same subject."""
        return keys.code_key(self.code)

    @property
    def term_key(self) -> str:
        """The key of the term."""
        return keys.text_key(self.term)

    @property
    def component_key(self) -> str:
        """The key of the component."""
        return keys.text_key(self.component)

    @property
    def search_text(self) -> str:
        """The text that searches look in."""
        return keys.search_text(self.course_id, self.code, self.title, code=self.code)

    @property
    def keys_version(self) -> int:
        """The version that the keys and the search text belong to."""
        return self.version

    @property
    def has_waiters(self) -> bool:
        """Whether students wait; it changes seldom, so that an index over it is cheap."""
        return self.waitlisted_count > 0

    @property
    def seats_available(self) -> int | None:
        """The free seats, never negative; None when the capacity is unlimited."""
        return self.seats_left()

    def seats_left(self, reserved: int = 0) -> int | None:
        """Return the free seats beyond the ``reserved`` ones, never negative; None when the capacity is unlimited."""
        return None if self.capacity is None else max(0, self.capacity - self.enrolled_count - reserved)


@dataclass(slots=True)
class Enrollment:
    """A row of ``enrollments``, with its position on the waitlist."""

    course_id: str
    enrollment_id: str
    student_id: str
    number: int
    attempt: int
    state: EnrollmentState
    grade: str = ""
    passed: bool | None = None
    bypassed_rules: tuple[str, ...] = ()
    reason: str = ""
    version: int = 1
    create_time: int = 0
    update_time: int = 0
    end_time: int | None = None
    last_skip: tuple[Violation, ...] = ()
    bypassed_violations: tuple[Violation, ...] = ()
    """The violations that overrides set aside; empty for overrides from before they were kept."""
    counted: bool | None = None
    """Whether this completion counts in the course's ``completed_count``: it ended a seat and is not void. None unless
    this is a completion."""
    waitlist_position: int = 0
    """Counted from 1 when a query asks for it, and never stored; 0 otherwise."""

    @property
    def live(self) -> bool:
        """Whether this enrollment holds a seat or a place on the waitlist."""
        return self.end_time is None

    @property
    def waits(self) -> bool:
        """Whether this enrollment holds a place on the waitlist."""
        return self.state == _WAITLISTED


SETTABLE: Mapping[type[Student | Course], Mapping[str, Kind]] = MappingProxyType(
    {Student: kinds_of(Student), Course: kinds_of(Course)}
)
"""The fields that callers may set in students and courses, with their kinds, in the order of declaration."""


class EnrollmentKey(NamedTuple):
    """The student and the course of an enrollment."""

    student_id: str
    course_id: str


@dataclass(slots=True)
class Commitment:
    """A student's seat: the fields of its course that the rules need."""

    student_id: str
    course_id: str
    term: str
    credits: int
    meetings: tuple[Meeting, ...]
    code: str = ""
    component: str = ""
    state: CourseState = CourseState.OPEN
    """The state of the course."""

    @property
    def component_key(self) -> str:
        """The key of the component."""
        return keys.text_key(self.component)

    @property
    def term_key(self) -> str:
        """The key of the term."""
        return keys.text_key(self.term)


class Subject(NamedTuple):
    """A course and its code. A completion meets a prerequisite of the same id or of a code with the same key."""

    course_id: str
    code: str

    @property
    def code_key(self) -> str:
        """The key of the code."""
        return keys.code_key(self.code)


class Passed(NamedTuple):
    """A student's passed enrollment, with the code of its course."""

    student_id: str
    enrollment_id: str
    course_id: str
    code: str


class Change(NamedTuple):
    """One field's value before and after, as people read it; None where it had no value."""

    field: str
    before: str | None
    after: str | None


class Event(NamedTuple):
    """A row of ``events`` without its revision, which the event receives when its batch is written."""

    event_id: str
    type: EventType
    time: int
    actor: str
    request_id: str
    course_id: str = ""
    student_id: str = ""
    enrollment_id: str = ""
    state: EnrollmentState | None = None
    previous_state: EnrollmentState | None = None
    capacity: int | None = None
    enrolled_count: int | None = None
    waitlisted_count: int | None = None
    enrollment_version: int | None = None
    grade: str = ""
    passed: bool | None = None
    reason: str = ""
    comment: str = ""
    bypassed_rules: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    violations: tuple[Violation, ...] = ()
    on_behalf_of: str = ""
