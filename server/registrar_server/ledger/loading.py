"""Locks and loads what a batch touches, and makes the state that is decided over.

Locks are taken in one order everywhere: courses by id, then students by id. Rows are read in later statements than the
locks, so that what was waited for is seen. Who waits for a seat is known only once the course is locked; those who may
get one are therefore locked in the same statement as the callers, which finds them itself. All of this is one round
trip. A second one follows only where somebody waits, or a course asks for prerequisites.

What the other courses of a student are about (term, credits, meetings, codes) is read as it was last committed, without
a lock: a course may be changed so at any time, whoever has a seat in it, and no rule is asked again then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from registrar_server.core.commands import Command, Scope
from registrar_server.core.records import (
    Commitment,
    Course,
    Enrollment,
    StoredResponse,
    Student,
    Subject,
    decode_meetings,
)
from registrar_server.core.state import OutOfWaiters, State
from registrar_server.storage import statements
from registrar_server.storage.bulk import Rows
from registrar_server.storage.database import Transaction

RequestKey = tuple[str, str]

MOST_WAITERS = 4_000_000
"""More than the longest waitlist has places."""


class Unlocked(Exception):
    """Rows that must be locked were found only after the locks were taken; the batch starts again, with these too."""

    def __init__(self, courses: Iterable[str], students: Iterable[str]) -> None:
        super().__init__(courses, students)
        self.courses = courses
        self.students = students


@dataclass(slots=True)
class Widened:
    """What earlier tries at a batch have shown to be needed, beyond what its commands touch."""

    courses: set[str] = field(default_factory=set)
    students: set[str] = field(default_factory=set)
    waiters: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def widen(self, missing: Unlocked | OutOfWaiters) -> None:
        """Take in what was missing; of waiters twice as many as before."""
        if isinstance(missing, Unlocked):
            self.courses.update(missing.courses)
            self.students.update(missing.students)
            return
        more = max(statements.SPARE_WAITERS, 2 * self.waiters[missing.course_id])
        if more > MOST_WAITERS:
            # No queue is that long: its course counts more waiters than there are, and would be read for ever.
            raise RuntimeError(f'Course "{missing.course_id}" miscounts its waiters; see registrar-server verify.')
        self.waiters[missing.course_id] = more

    def scope(self, commands: Iterable[Command]) -> Scope:
        """Return everything that the next try has to lock and load."""
        scope = Scope(courses=set(self.courses), students=set(self.students))
        for command in commands:
            command.touch(scope)
        for course_id, more in self.waiters.items():
            scope.settle(course_id, more)
        return scope


def load(
    transaction: Transaction,
    scope: Scope,
    asked: Collection[RequestKey],
    *,
    clock: Callable[[], int],
    new_id: Callable[[int], str],
) -> State:
    """Lock and load a batch's rows, and the responses already given to the request ids ``asked`` with.

    Raises ``Unlocked`` where a row was made meanwhile: before the locks an enrollment that a deletion has to end, or
    behind them a course or student that was not there to be locked.
    """
    _look_ahead(transaction, scope)
    return _read(transaction, scope, asked, clock, new_id, lock=True)


def look(transaction: Transaction, scope: Scope, *, clock: Callable[[], int]) -> State:
    """Load what a preview decides over: without locks, and without ids to give."""
    _look_ahead(transaction, scope)
    return _read(transaction, scope, (), clock, lambda now: "", lock=False)


def _look_ahead(transaction: Transaction, scope: Scope) -> None:
    """Find whom a deletion concerns, so that they can be locked in order."""
    if not scope.emptied_students and not scope.emptied_courses:
        return
    courses, students = transaction.read(
        (statements.COURSES_OF_STUDENTS, _keys(scope.emptied_students)),
        (statements.STUDENTS_OF_COURSES, _keys(scope.emptied_courses)),
    )
    scope.students.update(student_id for (student_id,) in students)
    for (course_id,) in courses:
        scope.settle(course_id, 1)


def _read(
    transaction: Transaction,
    scope: Scope,
    asked: Collection[RequestKey],
    clock: Callable[[], int],
    new_id: Callable[[int], str],
    *,
    lock: bool,
) -> State:
    queues = list(scope.openings.items())
    (
        locked_courses,
        locked_students,
        courses,
        students,
        attempts,
        of_students,
        of_courses,
        waiters,
        commitments,
        responses,
    ) = transaction.read(
        (statements.LOCK_COURSES, _keys(scope.courses) if lock else ()),
        (statements.LOCK_STUDENTS, _lock_keys(scope.students, queues) if lock else ()),
        (statements.COURSES, _keys(scope.courses)),
        (statements.STUDENTS, _keys(scope.students)),
        (statements.ATTEMPTS, list(scope.pairs)),
        (statements.LIVE_OF_STUDENTS, _keys(scope.emptied_students)),
        (statements.LIVE_OF_COURSES, _keys(scope.emptied_courses)),
        (statements.WAITERS, queues),
        (statements.COMMITMENTS, _keys(scope.seekers)),
        (statements.RESPONSES, list(asked)),
    )
    unlocked = {row[0] for row in of_students} - scope.courses, {row[2] for row in of_courses} - scope.students
    if lock and (any(unlocked) or _appeared(locked_courses, courses) or _appeared(locked_students, students)):
        raise Unlocked(*unlocked)
    # A preview answers for what its first look found.
    of_students = [row for row in of_students if row[0] in scope.courses]
    # Two statements may find one row, and one row must be one record.
    enrollments = {row[:2]: Enrollment.from_row(row) for row in (*of_courses, *of_students, *attempts)}
    # The clock is read after the locks: what waited for them happens after what it waited for.
    state = State(clock(), new_id)
    state.load(
        map(Student.from_row, students),
        map(Course.from_row, courses),
        enrollments.values(),
        (StoredResponse(*row) for row in responses),
    )
    _load_queues(state, scope, waiters)
    state.load_commitments(map(_commitment, commitments))
    _read_more(transaction, state, scope, {row[2] for row in waiters})
    return state


def _appeared(locked: Rows, loaded: Rows) -> bool:
    """Whether a row was made between the statement that locks and the one that loads, and so is not locked."""
    return not {row[0] for row in loaded} <= {row[0] for row in locked}


def _load_queues(state: State, scope: Scope, rows: Rows) -> None:
    heads: defaultdict[str, list[Enrollment]] = defaultdict(list)
    for row in rows:
        heads[row[0]].append(Enrollment.from_row(row))
    for course_id in scope.openings:
        if course := state.courses.get(course_id):
            state.load_queue(course, heads[course_id])


def _read_more(transaction: Transaction, state: State, scope: Scope, waiting: set[str]) -> None:
    """Read what the rules need of those who wait, and what of prerequisites, where there is any of it."""
    prerequisites = scope.prerequisites.union(
        *(
            state.courses[course_id].prerequisite_course_ids
            for course_id in scope.openings
            if course_id in state.courses
        )
    )
    if not waiting and not prerequisites:
        return
    strangers = waiting - scope.seekers
    seekers = waiting | scope.seekers if prerequisites else ()
    students, commitments, passed, codes = transaction.read(
        (statements.STUDENTS, _keys(strangers - scope.students)),
        (statements.COMMITMENTS, _keys(strangers)),
        (statements.PASSED, _keys(seekers)),
        (statements.CODES, _keys(prerequisites)),
    )
    state.load(map(Student.from_row, students), (), (), ())
    state.load_commitments(map(_commitment, commitments))
    state.load_subjects(
        ((row[0], row[1], Subject(row[2], row[3])) for row in passed), {row[0]: row[1] for row in codes}
    )


def _commitment(row: Sequence[Any]) -> tuple[str, Commitment]:
    student_id, course_id, term, credits, meetings = row
    return student_id, Commitment(course_id, term, credits, decode_meetings(meetings))


def _keys(ids: Iterable[str]) -> Rows:
    return [(key,) for key in ids]


def _lock_keys(students: Iterable[str], queues: Iterable[tuple[str, int]]) -> Rows:
    """Name the students to lock, and the courses whose first waiters to lock; an empty id is nobody's."""
    return [*((student_id, "", 0) for student_id in students), *(("", *queue) for queue in queues)]
