"""The set-based statements of the ledger, over the tables of ``models``."""

from __future__ import annotations

from registrar_server.core.commands import MANY
from registrar_server.core.journal import Journal
from registrar_server.core.records import (
    COURSE_COLUMNS,
    ENROLLMENT_COLUMNS,
    LIVE_STATES,
    STUDENT_COLUMNS,
    Commitment,
    Event,
    StoredResponse,
    Subject,
    row_maker,
)
from registrar_server.storage.bulk import Append, Heads, Insert, Lock, Rows, Select, Statement, Update

LIVE = f"state IN {LIVE_STATES!r}"
COUNTERS = ("enrolled_count", "waitlisted_count", "last_number")
SETTABLE = tuple(column for column in COURSE_COLUMNS if column not in ("course_id", *COUNTERS))
PROGRESS = ("state", "grade", "passed", "bypassed_rules", "reason", "version", "update_time", "end_time", "last_skip")

#: Waiters read beyond the free seats, since the rules keep some from being promoted.
SPARE_WAITERS = 16
_ROOM = f"coalesce(courses.capacity - courses.enrolled_count, {MANY}) + given.number"

#: The place in the queue, counted from 1; 0 for those who do not wait.
POSITION = """CASE WHEN enrollments.state <> 'WAITLISTED' THEN 0 ELSE (
    SELECT count(*) FROM enrollments AS ahead WHERE ahead.course_id = enrollments.course_id
       AND ahead.state = 'WAITLISTED' AND ahead.number <= enrollments.number) END"""

#: The first waiters of each course, as many as may get a seat, where there may be a seat. The number given with a
#: course is that of the seats which the batch may free or add.
WAITERS = Heads(
    "enrollments",
    ("course_id",),
    groups="courses",
    columns=ENROLLMENT_COLUMNS,
    where="state = 'WAITLISTED'",
    order="number",
    limit=f"CASE WHEN courses.waitlisted_count > 0 AND {_ROOM} > 0 THEN {_ROOM} + {SPARE_WAITERS} ELSE 0 END",
)

LOCK_COURSES = Lock("courses", ("course_id",))
LOCK_STUDENTS = Lock("students", ("student_id",), heads=WAITERS)

STUDENTS = Select("students", ("student_id",), STUDENT_COLUMNS)
COURSES = Select("courses", ("course_id",), COURSE_COLUMNS)
ENROLLMENTS = Select("enrollments", ("enrollment_id",), ENROLLMENT_COLUMNS, computed=(POSITION,))
ATTEMPTS = Select("enrollments", ("student_id", "course_id"), ENROLLMENT_COLUMNS, computed=(POSITION,))
LIVE_OF_STUDENTS = Select("enrollments", ("student_id",), ENROLLMENT_COLUMNS, LIVE, computed=(POSITION,))
LIVE_OF_COURSES = Select("enrollments", ("course_id",), ENROLLMENT_COLUMNS, LIVE)
COURSES_OF_STUDENTS = Select("enrollments", ("student_id",), ("course_id",), LIVE)
STUDENTS_OF_COURSES = Select("enrollments", ("course_id",), ("student_id",), LIVE)
COMMITMENTS = Select(
    "enrollments",
    ("student_id",),
    ("student_id", *Commitment._fields),
    "enrollments.state = 'ENROLLED'",
    join="courses",
    using="course_id",
)
PASSED = Select(
    "enrollments",
    ("student_id",),
    ("student_id", "enrollment_id", *Subject._fields),
    "enrollments.state = 'COMPLETED' AND enrollments.passed",
    join="courses",
    using="course_id",
)
CODES = Select("courses", ("course_id",), ("course_id", "code"))
RESPONSES = Select("request_ids", ("caller", "request_id"), StoredResponse._fields)

INSERT_STUDENTS = Insert("students", (), STUDENT_COLUMNS)
INSERT_COURSES = Insert("courses", (), COURSE_COLUMNS)
INSERT_ENROLLMENTS = Insert("enrollments", (), ENROLLMENT_COLUMNS)
INSERT_RESPONSES = Insert("request_ids", (), StoredResponse._fields)
UPDATE_STUDENTS = Update("students", ("student_id",), STUDENT_COLUMNS[1:])
UPDATE_COURSES = Update("courses", ("course_id",), SETTABLE)
COUNT_COURSES = Update("courses", ("course_id",), COUNTERS)
UPDATE_ENROLLMENTS = Update("enrollments", ("course_id", "enrollment_id"), PROGRESS)
APPEND_EVENTS = Append("events", (), Event._fields, number="revision", counter="event_counter")

_student_row = row_maker(STUDENT_COLUMNS)
_course_row = row_maker(COURSE_COLUMNS)
_settable_row = row_maker(("course_id", *SETTABLE))
_counters_row = row_maker(("course_id", *COUNTERS))
_enrollment_row = row_maker(ENROLLMENT_COLUMNS)
_progress_row = row_maker(("course_id", "enrollment_id", *PROGRESS))


def writes(journal: Journal) -> tuple[tuple[Statement, Rows], ...]:
    """Return what a batch has to write, in the order in which it must be written.

    Ended enrollments go before new ones, which may take their place in the index of live enrollments. New students,
    courses and request ids go in order of their keys, so that two batches waiting for each other's can't deadlock.
    The event counter, which all batches share, is last.
    """
    return (
        (INSERT_STUDENTS, [_student_row(student) for _, student in sorted(journal.added_students.items())]),
        (INSERT_COURSES, [_course_row(course) for _, course in sorted(journal.added_courses.items())]),
        (UPDATE_STUDENTS, [_student_row(student) for student in journal.changed_students.values()]),
        (UPDATE_COURSES, [_settable_row(course) for course in journal.changed_courses.values()]),
        (COUNT_COURSES, [_counters_row(course) for course in journal.counted_courses.values()]),
        (UPDATE_ENROLLMENTS, [_progress_row(ended) for ended in journal.changed_enrollments.values()]),
        (INSERT_ENROLLMENTS, [_enrollment_row(opened) for opened in journal.added_enrollments.values()]),
        (INSERT_RESPONSES, sorted(journal.added_responses)),
        (APPEND_EVENTS, journal.events),
    )
