"""Decisions against the reference: random commands, in batches of any size, have the same results."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from registrar_server.core.commands import Command, Enroll, Swap
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Event, Student
from registrar_server.core.state import State
from registrar_server.errors import Refusal
from tests.support.histories import (
    FOUNDATION,
    TIMETABLES,
    by_real_ids,
    result_of,
    result_of_event,
    result_of_refusal,
)
from tests.support.ledgers import Receipt
from tests.support.properties import scaled
from tests.support.reference import Reference
from tests.support.reference_rules import Result
from tests.support.scenes import STEPS, SWEEP
from tests.support.states import NOW, loaded_state, numbered_ids, set_positions

HISTORIES = st.tuples(
    st.one_of(st.just(()), TIMETABLES),
    st.lists(STEPS, min_size=10, max_size=30),
).map(lambda parts: [*FOUNDATION, *parts[0], *itertools.chain.from_iterable(parts[1])])
CUTS = st.lists(st.integers(0, 75), max_size=10)


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

    def forget_kept_facts(self, numbers: Collection[int]) -> None:
        """Remove what overrides were given for, as if servers of an older version had enrolled the students."""
        for row in self.enrollments.values():
            if row.number in numbers:
                row.bypassed_violations = ()

    def contents(self) -> object:
        """Return everything that is stored."""
        return copy.deepcopy((self.students, self.courses, self.enrollments, self.events))


def outcome(state: State, command: Command) -> Result:
    """Decide a command, and return its result in the terms of the reference."""
    try:
        return result_of(Receipt.of(decide(state, command)).fields)
    except Refusal as refusal:
        return result_of_refusal(refusal)


def assert_agree(database: FakeDatabase, reference: Reference) -> None:
    """Assert that all records and events are those of the reference."""
    assert list(map(result_of_event, database.events)) == reference.events
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


@settings(max_examples=scaled(200), deadline=None)
@given(HISTORIES, CUTS)
def test_decides_as_the_reference_does(commands: list[Command], cuts: list[int]) -> None:
    """Every result, event and record agrees with the reference, which runs one command at a time."""
    reference, database = Reference(NOW), FakeDatabase()
    assert database.run_split(commands, cuts) == [reference.do(command) for command in commands]
    assert_agree(database, reference)
    for situation in +reference.situations:
        event(situation)


def test_the_histories_reach_the_rare_cases() -> None:
    """The random commands lead to each situation that the rules of waiting have to decide."""
    reached: Counter[str] = Counter()

    @settings(max_examples=150, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
    @given(HISTORIES)
    def collect(commands: list[Command]) -> None:
        reference = Reference(NOW)
        for command in commands:
            reference.do(command)
        reached.update(reference.situations)

    collect()
    assert +reached == reached


@settings(max_examples=scaled(50), deadline=None)
@given(HISTORIES, st.sets(st.integers(1, 20), min_size=8), st.integers(3, 8))
def test_overrides_from_before_their_facts_were_kept(commands: list[Command], numbers: set[int], size: int) -> None:
    """An override of which only the rule is known covers it whole, as the reference says."""
    reference, database = Reference(NOW), FakeDatabase()
    for start in range(0, len(commands), size):
        batch = commands[start : start + size]
        assert list(database.run(batch)) == [reference.do(command) for command in batch]
        database.forget_kept_facts(numbers)
        reference.forget_kept_facts(numbers)
    assert_agree(database, reference)


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_the_size_of_batches_does_not_matter(commands: list[Command], cuts: list[int]) -> None:
    """The same commands in one batch or in several lead to the same records and the same history."""
    whole, cut = FakeDatabase(), FakeDatabase()
    assert whole.run_split(commands, []) == cut.run_split(commands, cuts)
    assert whole.contents() == cut.contents()


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_after_a_sweep_no_eligible_waiter_is_left_beside_a_free_seat(commands: list[Command], cuts: list[int]) -> None:
    """A course in its window has no eligible waiter left if it has more free seats than completions.

    The same sweep again changes nothing, whether it is in a batch of its own or in one with other commands.
    """
    reference, database = Reference(NOW), FakeDatabase()
    swept = [*commands, *SWEEP]
    assert database.run_split(swept, cuts) == [reference.do(command) for command in swept]
    assert_agree(database, reference)
    assert not reference.waiters_that_a_sweep_forgot()
    before = database.contents()
    database.run_split(SWEEP, [])
    assert database.contents() == before


def passes_waiters(reference: Reference, command: Command) -> list[str]:
    """Carry out a command and return the eligible waiters whom its newcomer has passed within capacity."""
    if isinstance(command, Swap):
        course_id = command.to_course_id
    elif isinstance(command, Enroll):
        course_id = command.course_id
    else:
        reference.do(command)
        return []
    rows = len(reference.rows)
    reference.do(command)
    added = reference.rows[rows:]
    gives_free_seat = any(row.state == "ENROLLED" and "COURSE_FULL" not in row.bypassed for row in added)
    promotes = gives_free_seat and reference.promotes(reference.courses[course_id])
    return reference.eligible_waiters(course_id) if promotes else []


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_seats_are_not_oversold_and_eligible_waiters_not_passed_over(commands: list[Command], cuts: list[int]) -> None:
    """Only an override gives a seat over capacity, and no newcomer takes a seat that a waiter could have had.

    The counters equal the rows and the history, and a student has at most one live enrollment in a course.
    """
    database, reference = FakeDatabase(), Reference(NOW)
    database.run_split(commands, cuts)
    for command in commands:
        assert not passes_waiters(reference, command)
    assert_agree(database, reference)
    live = [(row.course_id, row.student_id) for row in database.enrollments.values() if row.live]
    assert len(live) == len(set(live))
    for course in database.courses.values():
        assert_counted(course, database)
    for recorded in database.events:
        takes_seat = recorded.type in ("STUDENT_ENROLLED", "STUDENT_PROMOTED")
        if takes_seat and "COURSE_FULL" not in recorded.bypassed_rules and recorded.capacity is not None:
            assert recorded.enrolled_count is not None
            assert recorded.enrolled_count <= recorded.capacity


def assert_counted(course: Course, database: FakeDatabase) -> None:
    """Assert that the counters of a course equal its rows, and its completions those of the history."""
    of_course = [row for row in database.enrollments.values() if row.course_id == course.course_id]
    assert course.enrolled_count == sum(row.state == "ENROLLED" for row in of_course)
    assert course.waitlisted_count == sum(row.waits for row in of_course)
    events = [one for one in database.events if one.course_id == course.course_id]
    ended = {
        one.enrollment_id for one in events if (one.type, one.previous_state) == ("ENROLLMENT_COMPLETED", "ENROLLED")
    }
    voided = {one.enrollment_id for one in events if one.type == "COMPLETION_VOIDED"}
    assert course.completed_count == len(ended - voided) == sum(row.counted is True for row in of_course)
