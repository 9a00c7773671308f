"""States for tests of the core: how to build one, decide over it, and look at the result."""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import pytest

from registrar_server.core.attempts import Attempts
from registrar_server.core.commands import Command, Enroll
from registrar_server.core.decide import decide
from registrar_server.core.queue import Queue, Queues
from registrar_server.core.records import Commitment, Course, Enrollment, Passed, Student
from registrar_server.core.schedule import Meeting
from registrar_server.core.seats import Enrolled
from registrar_server.core.state import State
from registrar_server.core.transcripts import Transcripts
from registrar_server.core.vocabulary import LIVE_STATES, EnrollmentState
from registrar_server.errors import Refusal

NOW = 1_795_449_600_123_456
"""The time of every state, in microseconds since 1970 UTC."""
EARLIER = NOW - 1_000_000
MONDAY = (Meeting((1,), 9 * 3600, 10 * 3600, "", "", ""),)
"""The meetings of a course that meets on Mondays from 9 to 10."""


def numbered_ids() -> Callable[[int], str]:
    """Return a generator of the ids ``id-1``, ``id-2`` and so on."""
    numbers = itertools.count(1)
    return lambda _now: f"id-{next(numbers)}"


def enrollment(
    student_id: str, state: str = "WAITLISTED", number: int = 1, course_id: str = "c-1", **fields: Any
) -> Enrollment:
    """Return a student's first enrollment in a course, with an id such as ``c-1/ada``, created ``EARLIER``."""
    end_time = None if state in LIVE_STATES else EARLIER
    values = {"attempt": 1, "create_time": EARLIER, "update_time": EARLIER, "end_time": end_time}
    names = {"course_id": course_id, "enrollment_id": f"{course_id}/{student_id}", "student_id": student_id}
    return Enrollment(**names | values | {"number": number, "state": EnrollmentState(state)} | fields)


def loaded_state(*records: Student | Course | Enrollment, new_id: Callable[[int], str] | None = None) -> State:
    """Return a state that has loaded these records, and what the rules need to know about them.

    The ids that it generates are ``id-1``, ``id-2`` and so on, unless ``new_id`` generates them. If a course counts
    more waiters than there are here, only the first waiters were loaded.
    """
    state = State(NOW, new_id or numbered_ids())
    students = [record for record in records if isinstance(record, Student)]
    courses = {record.course_id: record for record in records if isinstance(record, Course)}
    enrollments = [record for record in records if isinstance(record, Enrollment)]
    waitlists = set_positions(enrollments)
    state.load(students, courses.values(), enrollments)
    state.enrollments.update((one.enrollment_id, one) for one in enrollments)
    for course in courses.values():
        state.load_queue(course, waitlists.get(course.course_id, ()))
    for one in enrollments:
        _load_transcript(state, one, courses.get(one.course_id, Course(one.course_id)))
    return state


def set_positions(enrollments: Iterable[Enrollment]) -> Mapping[str, list[Enrollment]]:
    """Set the waitlist positions of all waiters, and return the waiters of each course in order."""
    waitlists: defaultdict[str, list[Enrollment]] = defaultdict(list)
    for waiter in sorted(enrollments, key=lambda enrollment: enrollment.number):
        if waiter.waits:
            waitlists[waiter.course_id].append(waiter)
            waiter.waitlist_position = len(waitlists[waiter.course_id])
    return waitlists


def _load_transcript(state: State, enrollment: Enrollment, course: Course) -> None:
    if enrollment.state == EnrollmentState.ENROLLED:
        names = (field.name for field in fields(Commitment) if field.name != "student_id")
        seat = Commitment(enrollment.student_id, **{name: getattr(course, name) for name in names})
        state.load_transcripts([seat])
    elif enrollment.state == EnrollmentState.COMPLETED and enrollment.passed:
        passed = Passed(enrollment.student_id, enrollment.enrollment_id, course.course_id, course.code)
        state.load_transcripts(passed=[passed])


def decide_all(state: State, *commands: Command) -> None:
    """Decide commands of one batch, none of which is refused."""
    for command in commands:
        decide(state, command)


def enrolled(state: State, command: Enroll) -> Enrollment:
    """Decide an enrollment, and return it without the students who were promoted."""
    result: Enrolled = decide(state, command)
    return result.enrollment


def refusal(state: State, command: Command) -> Refusal:
    """Decide a command that must be refused, and return the refusal."""
    with pytest.raises(Refusal) as refused:
        decide(state, command)
    return refused.value


def contents(state: State) -> dict[str, Any]:
    """Return a copy of everything that a state holds.

    The copy lacks the empty entries that look-ups leave behind. It does not tell which waiters are blocked: that is a
    memory of judgements, which also a refused command may fill.
    """
    copied = copy.deepcopy(vars(state) | {"journal": {**vars(state.journal), "new_id": None}})
    return {name: _plain(value) for name, value in copied.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Queues):
        value.unblock_all()
    if isinstance(value, Queue):
        # Whether the waiters have to be sorted before they are read again is no content, nor how many were looked at.
        value._in_order, value.needed = True, 0
    if isinstance(value, Attempts | Queue | Queues | Transcripts):
        return _plain(vars(value))
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := _plain(item))}
    return value


def event_types(state: State) -> list[str]:
    """Return the types of the events that a state has recorded."""
    return [event.type for event in state.journal.events]
