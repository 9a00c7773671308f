"""Decisions against the reference: random commands, in batches of any size, have the same results."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from registrar_server.core.commands import Command, Enroll
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Event, Student
from registrar_server.core.state import State
from registrar_server.errors import Refusal
from tests.support.histories import COMMANDS, FOUNDATION, TIMETABLES, by_real_ids, result_of, result_of_refusal
from tests.support.ledgers import Receipt
from tests.support.properties import scaled
from tests.support.reference import Reference, Result
from tests.support.states import NOW, loaded_state, numbered_ids, set_positions

HISTORIES = st.tuples(
    st.one_of(st.just(()), TIMETABLES),
    st.lists(COMMANDS, min_size=30, max_size=60),
).map(lambda parts: [*FOUNDATION, *parts[0], *parts[1]])
CUTS = st.lists(st.integers(0, 60), max_size=10)


class FakeDatabase:
    """A database made of dictionaries; it stores copies of the records between batches."""

    def __init__(self) -> None:
        self.students: dict[str, Student] = {}
        self.courses: dict[str, Course] = {}
        self.enrollments: dict[str, Enrollment] = {}
        self.events: list[Event] = []
        self._new_id = numbered_ids()

    def run(self, batch: Sequence[Command]) -> Iterator[Result]:
        """Load everything, decide a batch, and store what the journal notes, and nothing else."""
        state = self._load()
        yield from [outcome(state, self._by_real_id(state, command)) for command in batch]
        journal = state.journal
        self.students |= journal.added_students | journal.changed_students
        self.courses |= journal.added_courses | journal.changed_courses | journal.counted_courses
        self.enrollments |= journal.added_enrollments | journal.changed_enrollments
        self.events += journal.events
        set_positions(self.enrollments.values())

    def _load(self) -> State:
        students, courses, enrollments = copy.deepcopy((self.students, self.courses, self.enrollments))
        return loaded_state(*students.values(), *courses.values(), *enrollments.values(), new_id=self._new_id)

    def _by_real_id(self, state: State, command: Command) -> Command:
        # Here, unlike in a real batch, a command can name an enrollment that an earlier command of its batch added.
        state.enrollments.update(state.journal.added_enrollments)
        rows = state.enrollments.values()
        return by_real_ids(command, {f"{row.course_id}#{row.number}": row.enrollment_id for row in rows})

    def run_split(self, commands: Sequence[Command], cuts: Sequence[int]) -> list[Result]:
        """Run the commands as batches that end at the cuts."""
        ends = sorted({0, len(commands), *(cut for cut in cuts if cut < len(commands))})
        return [result for start, end in itertools.pairwise(ends) for result in self.run(commands[start:end])]

    def contents(self) -> object:
        """Return everything that is stored."""
        return copy.deepcopy((self.students, self.courses, self.enrollments, self.events))


def outcome(state: State, command: Command) -> Result:
    """Decide a command, and return its result in the terms of the reference."""
    try:
        return result_of(Receipt.of(decide(state, command)).fields)
    except Refusal as refusal:
        return result_of_refusal(refusal)


@settings(max_examples=scaled(200), deadline=None)
@given(HISTORIES, CUTS)
def test_decides_as_the_reference_does(commands: list[Command], cuts: list[int]) -> None:
    """Every result, event and record agrees with the reference, which runs one command at a time."""
    reference, database = Reference(NOW), FakeDatabase()
    assert database.run_split(commands, cuts) == [reference.do(command) for command in commands]
    assert [(event.type, event.student_id, event.course_id) for event in database.events] == reference.events
    assert [result_of(Receipt.of(course).fields) for course in database.courses.values()] == [
        reference.course(course_id) for course_id in database.courses
    ]
    assert [result_of(Receipt.of(student).fields) for student in database.students.values()] == [
        reference.student(student_id) for student_id in database.students
    ]
    enrollments = sorted(
        (result_of(Receipt.of(enrollment).fields) for enrollment in database.enrollments.values()), key=str
    )
    assert enrollments == sorted(map(reference.enrollment, reference.rows), key=str)


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_the_size_of_batches_does_not_matter(commands: list[Command], cuts: list[int]) -> None:
    """The same commands in one batch or in several lead to the same records and the same history."""
    whole, cut = FakeDatabase(), FakeDatabase()
    assert whole.run_split(commands, []) == cut.run_split(commands, cuts)
    assert whole.contents() == cut.contents()


def gives_free_seat(result: Result) -> bool:
    """Return whether a newcomer, whose enrollment has version 1, got a seat within capacity."""
    is_newcomer = result[0] == "enrollment" and result[10] == 1
    return is_newcomer and result[5] == "ENROLLED" and "COURSE_FULL" not in result[9]


def assert_no_eligible_waiter(reference: Reference, course_id: str) -> None:
    """Assert that the rules keep every remaining waiter from the seat that a newcomer got."""
    course = reference.courses[course_id]
    for row in reference.rows:
        if row.course_id == course_id and row.state == "WAITLISTED":
            violated = {reason for reason, _ in reference.violations(reference.students[row.student_id], course)}
            assert violated - row.bypassed or violated & {"ENROLLMENT_NOT_OPEN", "ENROLLMENT_CLOSED"}


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_seats_are_not_oversold_and_eligible_waiters_not_passed_over(commands: list[Command], cuts: list[int]) -> None:
    """Only an override gives a seat over capacity, and no newcomer takes a seat that a waiter could have had.

    The counters equal the rows, and a student has at most one live enrollment in a course.
    """
    database, reference = FakeDatabase(), Reference(NOW)
    database.run_split(commands, cuts)
    for command in commands:
        result = reference.do(command)
        if isinstance(command, Enroll) and not command.allow_existing and gives_free_seat(result):
            assert_no_eligible_waiter(reference, command.course_id)
    live = [(row.course_id, row.student_id) for row in database.enrollments.values() if row.live]
    assert len(live) == len(set(live))
    for course in database.courses.values():
        of_course = [row for row in database.enrollments.values() if row.course_id == course.course_id]
        assert course.enrolled_count == sum(row.state == "ENROLLED" for row in of_course)
        assert course.waitlisted_count == sum(row.waits for row in of_course)
    for event in database.events:
        takes_seat = (
            event.type in ("STUDENT_ENROLLED", "STUDENT_PROMOTED") and "COURSE_FULL" not in event.bypassed_rules
        )
        if takes_seat and event.capacity is not None:
            assert event.enrolled_count is not None
            assert event.enrolled_count <= event.capacity
