"""Locks and loads the rows of a batch, and makes the state that decisions work on.

Locks are taken in one order everywhere: courses by id, then students by id. The statements that lock courses and
students return them, and later statements read the other rows, so that a batch sees what it waited for. The waiters of
a course are known only after the course is locked, so the statement that locks the students of the commands also finds
and locks the waiters that may get a seat. All of this is one round trip. A second one follows only if students wait or
a course has prerequisites.

Some commands imply courses and students that they do not name. These are read ahead, without locks.

The state, term, component, credits, meetings and codes of a student's other courses are read as last committed, without
a lock. A course may change at any time after a student got a seat in it, and no rule is checked again then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from registrar_server.core.commands import Command
from registrar_server.core.queue import OutOfWaiters
from registrar_server.core.records import Enrollment
from registrar_server.core.scope import SPARE_WAITERS, Scope
from registrar_server.core.state import State
from registrar_server.ledger.request_ids import Responses
from registrar_server.storage import statements
from registrar_server.storage.bulk import Query, Rows, id_rows
from registrar_server.storage.database import QueryResults
from registrar_server.storage.stores import Exchanges, Store

RequestKey = tuple[str, str]

MAX_WAITERS = 4_000_000
"""More than the longest waitlist has places."""

GROWTH = 8
"""By how much the number of spare waiters grows after a run that lacked some. Each run judges all of them again."""

LOADING_US = 1
"""How long it takes to load a row into the state."""

MAX_EXPECTED = 1_000
"""The most courses whose expected waiters are kept."""


class Unlocked(Exception):
    """The batch needs locks on rows that it found only after it took its locks; it runs again with these rows too."""

    def __init__(self, courses: Iterable[str], students: Iterable[str]) -> None:
        super().__init__(courses, students)
        self.courses = courses
        self.students = students


class ExpectedWaiters:
    """How many waiters courses needed when they last settled, so that later batches load as many at once.

    This saves runs and never changes a decision: a batch that loads too few waiters runs again, and waiters that it
    does not need change nothing. All threads share it.
    """

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}

    def of(self, courses: Iterable[str]) -> dict[str, int]:
        """Return the expected number of spare waiters of those courses that need more than usual."""
        expected = self._expected
        return {one: spare for one in courses if (spare := expected.get(one))} if expected else {}

    def learn(self, state: State, courses: Iterable[str]) -> None:
        """Note how many waiters of these courses a batch has needed. A course that did not settle teaches nothing."""
        for course_id in courses:
            needed = state.waiters_needed(course_id)
            if needed > SPARE_WAITERS:
                if len(self._expected) >= MAX_EXPECTED:
                    self._expected.clear()
                self._expected[course_id] = needed + SPARE_WAITERS
            elif needed:
                self._expected.pop(course_id, None)


@dataclass(slots=True)
class Widened:
    """The rows that earlier runs of a batch lacked, beyond those that its commands name."""

    expected: ExpectedWaiters
    courses: set[str] = field(default_factory=set)
    students: set[str] = field(default_factory=set)
    spare: dict[str, int] = field(default_factory=dict)

    def widen(self, missing: Unlocked | OutOfWaiters) -> None:
        """Add what was missing; for waiters, several times as many as before."""
        if isinstance(missing, Unlocked):
            self.courses.update(missing.courses)
            self.students.update(missing.students)
            return
        course_id = missing.course_id
        spare = self.spare.get(course_id) or self.expected.of([course_id]).get(course_id, SPARE_WAITERS)
        if spare >= MAX_WAITERS:
            # No waitlist is that long: the course counts more waiters than exist, and the batch would never end.
            raise RuntimeError(f'Course "{course_id}" miscounts its waiters; see registrar-server verify.')
        self.spare[course_id] = min(GROWTH * spare, MAX_WAITERS)

    def scope(self, commands: Iterable[Command]) -> Scope:
        """Return everything that the next run has to lock and load."""
        scope = Scope(courses=set(self.courses), students=set(self.students))
        for command in commands:
            command.touch(scope)
        scope.spare = self.expected.of(scope.openings) | self.spare
        for course_id in self.spare:
            # The batch needs waiters, so it frees a seat, whether its commands say so or not.
            scope.settle(course_id, 1)
        return scope


async def lock_and_load(
    store: Store,
    transaction: Exchanges,
    scope: Scope,
    asked: Collection[RequestKey],
    *,
    clock: Callable[[], int],
    new_id: Callable[[int], str],
) -> tuple[State, Responses]:
    """Lock and load a batch's rows, and the responses that are stored for the request ids in ``asked``.

    Raises ``Unlocked`` if an enrollment that a deletion has to end was added, perhaps with its course, before the locks
    were taken.
    """
    await _look_ahead(transaction, scope)
    found = await transaction.read(_locks(scope) | _queries(scope) | {statements.RESPONSES: list(asked)})
    _check_locks(found)
    # Read the clock after taking the locks, so that a batch that waited gets the later time.
    state = State(clock(), new_id)
    state.load(found[statements.LOCK_STUDENTS], found[statements.LOCK_COURSES])
    await _fill(state, store, transaction, scope, found)
    return state, Responses(found[statements.RESPONSES])


async def load_without_locks(store: Store, transaction: Exchanges, scope: Scope, *, clock: Callable[[], int]) -> State:
    """Load the rows of a preview, without locks. Generated ids only distinguish records; callers do not see them."""
    await _look_ahead(transaction, scope)
    courses, students = id_rows(scope.courses), id_rows(scope.students)
    rows: dict[Query[Any], Rows] = {statements.COURSES: courses, statements.STUDENTS: students}
    found = await transaction.read(rows | _queries(scope))
    places = count(1)
    state = State(clock(), lambda now: f"preview-{next(places)}")
    state.load(found[statements.STUDENTS], found[statements.COURSES])
    await _fill(state, store, transaction, scope, found)
    return state


async def _look_ahead(transaction: Exchanges, scope: Scope) -> None:
    """Add the courses and students to the scope that its commands imply, so that they are locked in order.

    A deletion affects the courses and students of live enrollments; an enrollment that is named by its id has one each.
    """
    if not scope.emptied_students and not scope.emptied_courses and not scope.enrollments:
        return
    found = await transaction.read(
        {
            statements.KEYS_OF_ENROLLMENTS: id_rows(scope.enrollments),
            statements.LIVE_KEYS_OF_STUDENTS: id_rows(scope.emptied_students),
            statements.LIVE_KEYS_OF_COURSES: id_rows(scope.emptied_courses),
        }
    )
    scope.students.update(live.student_id for live in found[statements.LIVE_KEYS_OF_COURSES])
    for live in found[statements.LIVE_KEYS_OF_STUDENTS]:
        scope.settle(live.course_id, 1)
    # An enrollment never changes its student or course, so its key is still right when they are locked.
    for named in found[statements.KEYS_OF_ENROLLMENTS]:
        scope.courses.add(named.course_id)
        scope.students.add(named.student_id)
        scope.pairs.add(named)


def _locks(scope: Scope) -> dict[Query[Any], Rows]:
    students = statements.student_locks(scope.students, scope.heads())
    return {statements.LOCK_COURSES: id_rows(scope.courses), statements.LOCK_STUDENTS: students}


def _queries(scope: Scope) -> dict[Query[Any], Rows]:
    return {
        statements.ATTEMPTS: list(scope.pairs),
        statements.LIVE_OF_STUDENTS: id_rows(scope.emptied_students),
        statements.LIVE_OF_COURSES: id_rows(scope.emptied_courses),
        statements.WAITERS: scope.heads(),
        statements.COMMITMENTS: id_rows(scope.seekers),
    }


def _check_locks(found: QueryResults) -> None:
    # A course that was added while the locks were taken is not locked, even if a command names it.
    courses = {live.course_id for live in found[statements.LIVE_OF_STUDENTS]}
    students = {live.student_id for live in found[statements.LIVE_OF_COURSES]}
    if courses or students:
        courses.difference_update(course.course_id for course in found[statements.LOCK_COURSES])
        students.difference_update(student.student_id for student in found[statements.LOCK_STUDENTS])
        if courses or students:
            raise Unlocked(courses, students)


async def _fill(state: State, store: Store, transaction: Exchanges, scope: Scope, found: QueryResults) -> None:
    await store.compute(found.row_count() * LOADING_US, _load, state, scope, found)
    # A course that was added while the locks were taken is not locked, and neither are its waiters.
    waiting = {waiter.student_id for waiter in found[statements.WAITERS] if waiter.course_id in state.courses}
    prerequisites = _prerequisites(state, scope)
    if waiting or prerequisites:
        await _load_more(state, transaction, scope, waiting, prerequisites)


def _load(state: State, scope: Scope, found: QueryResults) -> None:
    # A preview takes no locks, so it ignores the courses of enrollments that came after it looked ahead.
    of_students = (live for live in found[statements.LIVE_OF_STUDENTS] if live.course_id in scope.courses)
    enrollments = (*found[statements.LIVE_OF_COURSES], *of_students, *found[statements.ATTEMPTS])
    # Several queries may return the same row, and one row must be one record.
    distinct = {(enrollment.course_id, enrollment.enrollment_id): enrollment for enrollment in enrollments}
    state.load(enrollments=distinct.values())
    if scope.enrollments:
        named = (one for one in distinct.values() if one.enrollment_id in scope.enrollments)
        state.enrollments.update((one.enrollment_id, one) for one in named)
    _load_queues(state, scope, found[statements.WAITERS])
    state.load_transcripts(found[statements.COMMITMENTS])


def _load_queues(state: State, scope: Scope, waiters: Iterable[Enrollment]) -> None:
    by_course: defaultdict[str, list[Enrollment]] = defaultdict(list)
    for waiter in waiters:
        by_course[waiter.course_id].append(waiter)
    for course_id in scope.openings:
        if course := state.courses.get(course_id):
            state.load_queue(course, by_course[course_id])


def _prerequisites(state: State, scope: Scope) -> set[str]:
    courses = (state.courses[course_id] for course_id in scope.openings if course_id in state.courses)
    return scope.prerequisites.union(*(course.prerequisite_course_ids for course in courses))


async def _load_more(
    state: State, transaction: Exchanges, scope: Scope, waiting: set[str], prerequisites: set[str]
) -> None:
    """Load what the rules need about waiters, and what they need about prerequisites."""
    others = waiting - scope.seekers
    found = await transaction.read(
        {
            statements.STUDENTS: id_rows(others - state.students.keys()),
            statements.COMMITMENTS: id_rows(others),
            statements.PASSED: id_rows(waiting | scope.seekers if prerequisites else ()),
            statements.SUBJECTS: id_rows(prerequisites),
        }
    )
    state.load(found[statements.STUDENTS])
    state.load_transcripts(found[statements.COMMITMENTS], found[statements.PASSED], found[statements.SUBJECTS])
