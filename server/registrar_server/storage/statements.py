"""The set-based statements of the ledger and of lookups, over the tables of ``models``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from registrar_server.core.journal import Journal
from registrar_server.core.records import (
    Commitment,
    Course,
    Enrollment,
    EnrollmentKey,
    Event,
    Passed,
    Student,
    Subject,
)
from registrar_server.core.scope import MANY
from registrar_server.core.vocabulary import LIVE_STATES, EnrollmentState, EventType
from registrar_server.storage.bulk import Append, Heads, Insert, Lock, Query, Rows, Select, Statement, Update
from registrar_server.storage.models import AWAITS_COUNT, one_of
from registrar_server.storage.rows import field_names, row_reader, row_writer

Record = TypeVar("Record")

LIVE = one_of("state", LIVE_STATES)
WAITS = f"state = '{EnrollmentState.WAITLISTED}'"

STUDENT_COLUMNS = field_names(Student)
COURSE_COLUMNS = field_names(Course)
ENROLLMENT_COLUMNS = tuple(name for name in field_names(Enrollment) if name != "waitlist_position")
EVENT_COLUMNS = field_names(Event)
STUDENT_KEYS = ("hold_keys", "search_text", "sort_name", "keys_version")
COURSE_KEYS = ("code_key", "term_key", "component_key", "search_text", "keys_version")
"""The columns that follow from others and serve queries only. Records compute them and are loaded without them."""
COUNTERS = ("enrolled_count", "waitlisted_count", "completed_count", "last_number", "has_waiters")
COURSE_FIELDS = tuple(column for column in COURSE_COLUMNS if column not in ("course_id", *COUNTERS))
PROGRESS = (
    "state",
    "grade",
    "passed",
    "bypassed_rules",
    "reason",
    "version",
    "update_time",
    "end_time",
    "last_skip",
    "bypassed_violations",
    "counted",
)

COUNTS = f"""enrollments.state = '{EnrollmentState.COMPLETED}' AND (
    SELECT count(*) FROM events
     WHERE events.student_id = enrollments.student_id AND events.enrollment_id = enrollments.enrollment_id
       AND events.type = '{EventType.ENROLLMENT_COMPLETED}'
       AND events.previous_state = '{EnrollmentState.ENROLLED}') > 0"""
"""Whether an enrollment counts as completed: it ended a seat, and is not void."""

_ROOM = f"coalesce(courses.capacity - courses.enrolled_count, {MANY}) + given.openings"

POSITION = f"""CASE WHEN enrollments.state <> '{EnrollmentState.WAITLISTED}' THEN 0 ELSE (
    SELECT count(*) FROM enrollments AS ahead WHERE ahead.course_id = enrollments.course_id
       AND ahead.state = '{EnrollmentState.WAITLISTED}' AND ahead.number <= enrollments.number) END"""
"""The position on the waitlist, counted from 1; 0 if the enrollment does not wait."""


class StoredResponse(NamedTuple):
    """A row of ``request_ids``: the response to a caller's ``request_id``, and a digest of the request's content."""

    caller: str
    request_id: str
    fingerprint: bytes
    response: bytes
    create_time: int


class Uncounted(NamedTuple):
    """A completion with its ``counted`` as a server of an older version left it, and whether it counts."""

    course_id: str
    enrollment_id: str
    counted: bool | None
    counts: bool

    @property
    def row(self) -> tuple[str, str, bool]:
        """The row of ``COUNT_ENROLLMENTS`` that counts the completion."""
        return (self.course_id, self.enrollment_id, self.counts)


def _select_records(
    record: type[Record],
    table: str,
    *key: str,
    columns: tuple[str, ...] = (),
    computed: Mapping[str, str] | None = None,
    where: str = "TRUE",
    join: str = "",
) -> Select[Record]:
    """Return a select of records by key; ``columns`` defaults to the fields of the record."""
    columns, computed = columns or field_names(record), computed or {}
    read = row_reader(record, (*columns, *computed))
    using = "course_id" if join else ""
    return Select(table, key, columns, where, join, using, computed, read=read)


def _enrollments(*key: str, where: str = "TRUE") -> Select[Enrollment]:
    """Return a select of enrollments with their positions on the waitlist."""
    position = {"waitlist_position": POSITION}
    return _select_records(Enrollment, "enrollments", *key, columns=ENROLLMENT_COLUMNS, computed=position, where=where)


WAITERS = Heads(
    "enrollments",
    ("course_id",),
    groups="courses",
    columns=ENROLLMENT_COLUMNS,
    where=WAITS,
    order="number",
    limit=f"CASE WHEN courses.waitlisted_count > 0 AND {_ROOM} > 0 THEN {_ROOM} + given.spare ELSE 0 END",
    given=("openings", "spare"),
    read=row_reader(Enrollment, ENROLLMENT_COLUMNS),
)
"""The first waiters of each course, as many as may get a seat, and some to spare. The numbers given with a course are
the number of seats that the batch may free or add there, and that of waiters to spare. Seats that stay free for
completed students are not left out, since only the decision knows whether they do."""

LOCK_COURSES = Lock("courses", ("course_id",), COURSE_COLUMNS, read=row_reader(Course, COURSE_COLUMNS))
LOCK_STUDENTS = Lock(
    "students", ("student_id",), STUDENT_COLUMNS, heads=WAITERS, read=row_reader(Student, STUDENT_COLUMNS)
)

STUDENTS = _select_records(Student, "students", "student_id")
COURSES = _select_records(Course, "courses", "course_id")
ENROLLMENTS = _enrollments("enrollment_id")
ATTEMPTS = _enrollments("student_id", "course_id")
LIVE_OF_STUDENTS = _enrollments("student_id", where=LIVE)
LIVE_OF_COURSES = _select_records(Enrollment, "enrollments", "course_id", columns=ENROLLMENT_COLUMNS, where=LIVE)
KEYS_OF_ENROLLMENTS = _select_records(EnrollmentKey, "enrollments", "enrollment_id")
LIVE_KEYS_OF_STUDENTS = _select_records(EnrollmentKey, "enrollments", "student_id", where=LIVE)
LIVE_KEYS_OF_COURSES = _select_records(EnrollmentKey, "enrollments", "course_id", where=LIVE)
COMMITMENTS = _select_records(
    Commitment,
    "enrollments",
    "student_id",
    columns=tuple(name for name in field_names(Commitment) if name != "state"),
    computed={"state": "courses.state"},
    where=f"enrollments.state = '{EnrollmentState.ENROLLED}'",
    join="courses",
)
PASSED = _select_records(
    Passed,
    "enrollments",
    "student_id",
    where=f"enrollments.state = '{EnrollmentState.COMPLETED}' AND enrollments.passed",
    join="courses",
)
AWAITING_COUNT = _select_records(
    Uncounted,
    "enrollments",
    "enrollment_id",
    columns=("course_id", "enrollment_id", "counted"),
    computed={"counts": COUNTS},
    where=f"({AWAITS_COUNT.text})",
)
SUBJECTS = _select_records(Subject, "courses", "course_id")
RESPONSES = _select_records(StoredResponse, "request_ids", "caller", "request_id")

REVISION = Select[int]("event_counter", ("id",), ("revision",), read=itemgetter(0))
"""The revision of the newest event, by the id of the only row."""
LATEST: Mapping[Query[Any], Rows] = MappingProxyType({REVISION: [(1,)]})
"""The read that finds it."""

INSERT_STUDENTS = Insert("students", (), (*STUDENT_COLUMNS, *STUDENT_KEYS))
INSERT_COURSES = Insert("courses", (), (*COURSE_COLUMNS, "has_waiters", *COURSE_KEYS))
INSERT_ENROLLMENTS = Insert("enrollments", (), ENROLLMENT_COLUMNS)
INSERT_RESPONSES = Insert("request_ids", (), field_names(StoredResponse))
UPDATE_STUDENTS = Update("students", ("student_id",), (*STUDENT_COLUMNS[1:], *STUDENT_KEYS))
UPDATE_COURSES = Update("courses", ("course_id",), (*COURSE_FIELDS, *COURSE_KEYS))
KEY_STUDENTS = Update("students", ("student_id",), STUDENT_KEYS)
KEY_COURSES = Update("courses", ("course_id",), COURSE_KEYS)
COUNT_COURSES = Update("courses", ("course_id",), COUNTERS)
COUNT_ENROLLMENTS = Update("enrollments", ("course_id", "enrollment_id"), ("counted",))
UPDATE_ENROLLMENTS = Update("enrollments", ("course_id", "enrollment_id"), PROGRESS)
APPEND_EVENTS = Append(
    "events", (), EVENT_COLUMNS, number="revision", counter="event_counter", channel="registrar_events"
)

_new_student_row = row_writer(Student, INSERT_STUDENTS.columns)
_new_course_row = row_writer(Course, INSERT_COURSES.columns)
_new_enrollment_row = row_writer(Enrollment, INSERT_ENROLLMENTS.columns)
_event_row = row_writer(Event, APPEND_EVENTS.columns)
_student_row = row_writer(Student, (*UPDATE_STUDENTS.key, *UPDATE_STUDENTS.columns))
_course_row = row_writer(Course, (*UPDATE_COURSES.key, *UPDATE_COURSES.columns))
student_keys_row = row_writer(Student, (*KEY_STUDENTS.key, *KEY_STUDENTS.columns))
course_keys_row = row_writer(Course, (*KEY_COURSES.key, *KEY_COURSES.columns))
counters_row = row_writer(Course, (*COUNT_COURSES.key, *COUNT_COURSES.columns))
_progress_row = row_writer(Enrollment, (*UPDATE_ENROLLMENTS.key, *UPDATE_ENROLLMENTS.columns))


def student_locks(student_ids: Iterable[str], heads: Iterable[tuple[str, int, int]] = ()) -> Rows:
    """Return the parameters of ``LOCK_STUDENTS``: students, and courses whose first waiters' students are locked.

    Each course comes with the numbers that ``WAITERS`` takes.
    """
    # A row names a student or a course; the other id is empty.
    return [*((student_id, "", 0, 0) for student_id in student_ids), *(("", *head) for head in heads)]


def writes(journal: Journal, responses: list[StoredResponse]) -> tuple[tuple[Statement, Rows], ...]:
    """Return what a batch has to write, in the order in which to write it.

    Ended enrollments come before new ones, which may replace them in the index of live enrollments. New students,
    courses and responses are in order of their keys, so that two batches that wait for each other's keys do not
    deadlock. The event counter is last, since all batches share it.
    """
    return (
        (INSERT_STUDENTS, [_new_student_row(student) for _, student in sorted(journal.added_students.items())]),
        (INSERT_COURSES, [_new_course_row(course) for _, course in sorted(journal.added_courses.items())]),
        (UPDATE_STUDENTS, list(map(_student_row, journal.changed_students.values()))),
        (UPDATE_COURSES, list(map(_course_row, journal.changed_courses.values()))),
        (COUNT_COURSES, list(map(counters_row, journal.counted_courses.values()))),
        (UPDATE_ENROLLMENTS, list(map(_progress_row, journal.changed_enrollments.values()))),
        (INSERT_ENROLLMENTS, list(map(_new_enrollment_row, journal.added_enrollments.values()))),
        (INSERT_RESPONSES, sorted(responses)),
        (APPEND_EVENTS, list(map(_event_row, journal.events))),
    )
