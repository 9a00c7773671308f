"""What a round of the sweep has to settle: the courses with waiters and a free seat, without the remembered ones.

The rules refuse all waiters of a remembered course, and nothing has changed since that the rules depend on. So another
settlement would change nothing. What the rules depend on is in the history: a change of a student, of the student's
holds, seats or completions has an event of the student; a change of a course has one of the course. Only time has no
events, and of the rules only the window of the course depends on it; a course outside of its window is not found, and
so forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from sqlalchemy import Select, or_, select, text, union

from registrar_server.core.vocabulary import LIVE_STATES, CourseState, EnrollmentState, EventType
from registrar_server.storage.database import Database
from registrar_server.storage.models import Course, Enrollment, Event, EventCounter, one_of

MAX_ROUNDS = 100
"""After so many rounds everything is forgotten, in case a row changed without an event or the clock stepped back."""

_OF_COURSES = (
    EventType.COURSE_CREATED,
    EventType.COURSE_UPDATED,
    EventType.COURSE_DELETED,
    EventType.COURSE_UNDELETED,
)


class Memory(NamedTuple):
    """The courses that need no settlement, unless something of theirs has changed after ``revision``."""

    revision: int = 0
    courses: frozenset[str] = frozenset()
    rounds: int = 0
    """The number of rounds since everything was settled."""

    def and_settled(self, course_ids: Iterable[str]) -> Self:
        """Return the memory with the courses that were settled after ``revision``."""
        return self._replace(courses=self.courses.union(course_ids))


class Unsettled(NamedTuple):
    """The courses to settle, in order of id, and the memory without what has changed."""

    courses: list[str]
    memory: Memory


def find_unsettled(database: Database, now: int, memory: Memory) -> Unsettled:
    """Return the courses to settle at ``now``, in microseconds since 1970 UTC."""
    # Read the revision first, so that the next round sees every change that comes after it.
    ((revision,),) = database.rows(select(EventCounter.revision), calls=0)
    found = find_courses(database, now)
    quiet = _quiet(database, memory, found, revision)
    courses = [course_id for course_id in found if course_id not in quiet]
    return Unsettled(courses, Memory(revision, quiet, memory.rounds + 1 if quiet else 0))


def find_courses(database: Database, now: int) -> list[str]:
    """Return the courses that promote at ``now`` and have waiters and a free seat, in order of id."""
    return [row[0] for row in database.rows(courses_to_settle(now), calls=0)]


def _quiet(database: Database, memory: Memory, found: Iterable[str], revision: int) -> frozenset[str]:
    """Return the remembered courses among those found for which nothing has changed."""
    remembered = memory.courses.intersection(found) if memory.rounds < MAX_ROUNDS else frozenset[str]()
    if not remembered or revision == memory.revision:
        return remembered
    if database.rows(changes_of_courses(memory.revision), calls=0):
        return frozenset()
    return remembered.difference(row[0] for row in database.rows(changed_courses(memory.revision), calls=0))


def courses_to_settle(now: int) -> Select[str]:
    """Return the query for the courses that promote at ``now`` and have waiters and a free seat, in order of id.

    As many seats stay free as students have completed, because a finished course promotes nobody.
    """
    free = Course.capacity - Course.enrolled_count - Course.completed_count
    return (
        select(Course.course_id)
        .where(
            text("has_waiters"),  # As in the condition of the index: SQLite does not use it for ``has_waiters = 1``.
            Course.state == CourseState.OPEN,
            Course.delete_time.is_(None),
            or_(Course.enroll_open_time.is_(None), Course.enroll_open_time <= now),
            or_(Course.enroll_close_time.is_(None), Course.enroll_close_time > now),
            or_(Course.capacity.is_(None), free > 0),
        )
        .order_by(Course.course_id)
    )


def changes_of_courses(revision: int) -> Select[int]:
    """Return the query for a change of any course after ``revision``: the rules also look at other courses."""
    return select(Event.revision).where(Event.type.in_(_OF_COURSES), Event.revision > revision).limit(1)


def changed_courses(revision: int) -> Select[str]:
    """Return the query for the courses with an event after ``revision``, of the course or of one of its waiters.

    The events of the course itself include those that change the number of its free seats.
    """
    later = select(Event.course_id, Event.student_id).where(Event.revision > revision).cte("later")
    waiting = select(Enrollment.course_id).where(
        # Both conditions are literal, as in partial indexes.
        text(one_of("enrollments.state", LIVE_STATES)),
        text(one_of("enrollments.state", [EnrollmentState.WAITLISTED])),
        Enrollment.student_id.in_(select(later.c.student_id)),
    )
    changed = union(select(later.c.course_id), waiting).subquery()
    return select(changed.c.course_id)
