"""Decisions against the reference: whatever is asked, in batches of whatever size, the same comes of it."""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from registrar_server.core.commands import Command, Enroll
from registrar_server.core.decide import decide
from registrar_server.core.records import Commitment, Course, Enrollment, Event, Passed, Student
from registrar_server.core.state import State
from registrar_server.errors import Refusal
from tests.support.histories import COMMANDS, FOUNDATION, refused, summary
from tests.support.ledgers import NOW, Receipt
from tests.support.properties import scaled
from tests.support.reference import Reference, Result

HISTORIES = st.lists(COMMANDS, min_size=30, max_size=60).map(lambda asked: [*FOUNDATION, *asked])
CUTS = st.lists(st.integers(0, 60), max_size=10)


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
        state = self._load()
        yield from [outcome(state, command) for command in batch]
        journal = state.journal
        self.students |= journal.added_students | journal.changed_students
        self.courses |= journal.added_courses | journal.changed_courses | journal.counted_courses
        self.enrollments |= journal.added_enrollments | journal.changed_enrollments
        self.events += journal.events
        self._count_places()

    def _load(self) -> State:
        state = State(NOW, lambda _now: f"id-{next(self._ids)}")
        students, courses, enrollments = copy.deepcopy((self.students, self.courses, self.enrollments))
        state.load(students.values(), courses.values(), enrollments.values())
        rows = sorted(enrollments.values(), key=lambda row: row.number)
        for course in courses.values():
            state.load_queue(course, [row for row in rows if row.course_id == course.course_id and row.waits])
        for row in rows:
            course = courses[row.course_id]
            if row.state == "ENROLLED":
                held = Commitment(course.course_id, course.term, course.credits, course.meetings, row.student_id)
                state.load_transcripts([held])
            elif row.passed:
                passed = Passed(row.student_id, row.enrollment_id, course.course_id, course.code)
                state.load_transcripts(passed=[passed])
        return state

    def _count_places(self) -> None:
        queues: defaultdict[str, list[Enrollment]] = defaultdict(list)
        for row in sorted(self.enrollments.values(), key=lambda row: row.number):
            if row.waits:
                queues[row.course_id].append(row)
                row.waitlist_position = len(queues[row.course_id])

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
        return refused(refusal)


@settings(max_examples=scaled(200), deadline=None)
@given(HISTORIES, CUTS)
def test_decides_as_the_reference_does(asked: list[Command], cuts: list[int]) -> None:
    """Every outcome, every event and every record agree with one command at a time over plain lists."""
    reference, shelf = Reference(NOW), Shelf()
    assert shelf.run_split(asked, cuts) == [reference.do(command) for command in asked]
    assert [(event.type, event.student_id, event.course_id) for event in shelf.events] == reference.events
    assert [summary(Receipt.of(course).fields) for course in shelf.courses.values()] == [
        reference.course(course_id) for course_id in shelf.courses
    ]
    assert [summary(Receipt.of(student).fields) for student in shelf.students.values()] == [
        reference.student(student_id) for student_id in shelf.students
    ]
    made = sorted((summary(Receipt.of(enrollment).fields) for enrollment in shelf.enrollments.values()), key=str)
    assert made == sorted(map(reference.enrollment, reference.rows), key=str)


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_the_size_of_batches_does_not_matter(asked: list[Command], cuts: list[int]) -> None:
    """The same commands in one batch, or cut anywhere, leave the same records and the same history."""
    whole, cut = Shelf(), Shelf()
    assert whole.run_split(asked, []) == cut.run_split(asked, cuts)
    assert whole.contents() == cut.contents()


def takes_free_seat(result: Result) -> bool:
    """Whether an enrolling gave a newcomer, who has an enrollment of version 1, a seat that was free."""
    is_newcomer = result[0] == "enrollment" and result[10] == 1
    return is_newcomer and result[5] == "ENROLLED" and "COURSE_FULL" not in result[9]


def assert_nobody_was_passed_over(reference: Reference, course_id: str) -> None:
    """Assert that the rules keep everybody who still waits from the seat that a newcomer got."""
    course = reference.courses[course_id]
    for row in reference.rows:
        if row.course_id == course_id and row.state == "WAITLISTED":
            broken = {reason for reason, _ in reference.broken(reference.students[row.student_id], course)}
            assert broken - row.bypassed or broken & {"ENROLLMENT_NOT_OPEN", "ENROLLMENT_CLOSED"}


@settings(max_examples=scaled(100), deadline=None)
@given(HISTORIES, CUTS)
def test_seats_are_not_oversold_and_eligible_waiters_not_passed_over(asked: list[Command], cuts: list[int]) -> None:
    """Counters equal rows, a pair has one live enrollment at most, and only an override gives a seat too many.

    Whoever takes a free seat leaves nobody behind in the queue to whom the rules would have given it.
    """
    shelf, reference = Shelf(), Reference(NOW)
    shelf.run_split(asked, cuts)
    for command in asked:
        result = reference.do(command)
        if isinstance(command, Enroll) and not command.allow_existing and takes_free_seat(result):
            assert_nobody_was_passed_over(reference, command.course_id)
    live = [(row.course_id, row.student_id) for row in shelf.enrollments.values() if row.live]
    assert len(live) == len(set(live))
    for course in shelf.courses.values():
        of_course = [row for row in shelf.enrollments.values() if row.course_id == course.course_id]
        assert course.enrolled_count == sum(row.state == "ENROLLED" for row in of_course)
        assert course.waitlisted_count == sum(row.waits for row in of_course)
    for event in shelf.events:
        gives = event.type in ("STUDENT_ENROLLED", "STUDENT_PROMOTED") and "COURSE_FULL" not in event.bypassed_rules
        if gives and event.capacity is not None:
            assert event.enrolled_count is not None
            assert event.enrolled_count <= event.capacity
