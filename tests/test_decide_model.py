"""Decisions against the reference: whatever is asked, in batches of whatever size, the same comes of it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from registrar_server.enrollment.commands import Command
from registrar_server.enrollment.decide import decide
from registrar_server.enrollment.records import Course, Enrollment, Event, Student
from registrar_server.enrollment.state import State
from registrar_server.errors import Refusal
from tests.ledgers import NOW, Receipt
from tests.reference import COMMANDS, FOUNDATION, Reference, Result, summary

HISTORIES = st.lists(COMMANDS, max_size=40).map(lambda asked: [*FOUNDATION, *asked])
CUTS = st.lists(st.integers(0, 44), max_size=10)


class Shelf:
    """Where records stand between batches, as copies: what a database would be if it were a few dictionaries."""

    def __init__(self) -> None:
        self.students: dict[str, Student] = {}
        self.courses: dict[str, Course] = {}
        self.enrollments: dict[str, Enrollment] = {}
        self.events: list[Event] = []
        self._ids = itertools.count(1)

    def run(self, batch: Sequence[Command]) -> Iterator[Result]:
        """Load everything, decide a batch, and put away what it noted to be written, and nothing else."""
        state = State(NOW, lambda _now: f"id-{next(self._ids)}")
        students, courses, enrollments = copy.deepcopy((self.students, self.courses, self.enrollments))
        state.load(students.values(), courses.values(), enrollments.values(), ())
        yield from [outcome(state, command) for command in batch]
        self.students |= state.added_students | state.changed_students
        self.courses |= state.added_courses | state.changed_courses | state.counted_courses
        self.enrollments |= state.added_enrollments | state.changed_enrollments
        self.events += state.events

    def run_split(self, asked: Sequence[Command], cuts: Sequence[int]) -> list[Result]:
        """Run the commands as batches that end at these places."""
        places = sorted({0, len(asked), *(cut for cut in cuts if cut < len(asked))})
        return [result for start, end in itertools.pairwise(places) for result in self.run(asked[start:end])]

    def contents(self) -> object:
        """Everything that stands here, ids aside, which depend on nothing but the order they were made in."""
        return copy.deepcopy((self.students, self.courses, self.enrollments, self.events))


def outcome(state: State, command: Command) -> Result:
    """Decide, and say what came of it as the reference does."""
    try:
        return summary(Receipt.of(decide(state, command)).fields)
    except Refusal as refusal:
        return ("refused", refusal.reason.value)


@settings(max_examples=200, deadline=None)
@given(HISTORIES, CUTS)
def test_decides_as_the_reference_does(asked: list[Command], cuts: list[int]) -> None:
    """Every outcome, every event and every record agree with one command at a time over plain lists."""
    reference, shelf = Reference(), Shelf()
    assert shelf.run_split(asked, cuts) == [reference.do(command) for command in asked]
    assert [(event.type, event.student_id, event.course_id) for event in shelf.events] == reference.events
    assert [summary(Receipt.of(course).fields) for course in shelf.courses.values()] == [
        reference.course(course_id) for course_id in shelf.courses
    ]
    assert [summary(Receipt.of(student).fields) for student in shelf.students.values()] == [
        reference.student(student_id) for student_id in shelf.students
    ]
    made = sorted(summary(Receipt.of(enrollment).fields) for enrollment in shelf.enrollments.values())
    assert made == sorted(reference.enrollment(row) for row in reference.rows)


@settings(max_examples=100, deadline=None)
@given(HISTORIES, CUTS)
def test_the_size_of_batches_does_not_matter(asked: list[Command], cuts: list[int]) -> None:
    """The same commands in one batch, or cut anywhere, leave the same records and the same history."""
    whole, cut = Shelf(), Shelf()
    assert whole.run_split(asked, []) == cut.run_split(asked, cuts)
    assert whole.contents() == cut.contents()


@settings(max_examples=100, deadline=None)
@given(HISTORIES, CUTS)
def test_counts_are_the_rows_and_seats_are_not_oversold(asked: list[Command], cuts: list[int]) -> None:
    """Counters equal rows, a pair has at most one live enrollment, and only an override gives a seat too many."""
    shelf = Shelf()
    shelf.run_split(asked, cuts)
    live = [(row.course_id, row.student_id) for row in shelf.enrollments.values() if row.live]
    assert len(live) == len(set(live))
    for course in shelf.courses.values():
        assert course.enrolled_count == sum(course_id == course.course_id for course_id, _ in live)
        assert course.waitlisted_count == 0
    for event in shelf.events:
        if event.type == "STUDENT_ENROLLED" and event.bypassed_rules == "[]" and event.capacity is not None:
            assert event.enrolled_count is not None
            assert event.enrolled_count <= event.capacity
