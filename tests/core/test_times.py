"""The times of rows when the clock has stepped back: they stay where they were, and the rules follow the clock."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import (
    Command,
    Complete,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    UndeleteCourse,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.errors import Reason
from tests.support.states import NOW, enrollment, loaded_state, refusal

LATER = NOW + 3_600_000_000
ROW: dict[str, Any] = {"create_time": LATER, "update_time": LATER + 1}


def rows() -> list[Student | Course | Enrollment]:
    """Return rows that were made while the clock was ahead: ada has a seat in c-1, and bob waits for it."""
    course = Course("c-1", capacity=1, waitlist_capacity=1, enrolled_count=1, waitlisted_count=1, last_number=2, **ROW)
    seats = enrollment("ada", "ENROLLED", number=1, **ROW), enrollment("bob", "WAITLISTED", number=2, **ROW)
    return [Student("ada", **ROW), Student("bob", **ROW), course, *seats]


@pytest.mark.parametrize(
    "command",
    [
        UpdateStudent("ada", {"given_name": "Ada"}),
        UpdateCourse("c-1", {"capacity": 2}),
        DeleteStudent("ada", force=True),
        DeleteCourse("c-1", force=True),
        PlaceHold("ada", "BURSAR"),
        Unenroll("ada", "c-1"),
        Unenroll("bob", "c-1"),
        Complete("ada", "c-1", "A"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_the_times_of_a_row_never_go_backwards(command: Command) -> None:
    """Neither a row's times nor those of its events are before its earlier times."""
    state = loaded_state(*rows())
    decide(state, command)
    journal = state.journal
    resources: list[Student | Course] = [*journal.changed_students.values(), *journal.changed_courses.values()]
    for resource in resources:
        assert resource.update_time == LATER + 1
        assert resource.delete_time in (None, LATER + 1)
    for ended in journal.changed_enrollments.values():
        assert ended.update_time == LATER + 1
        assert ended.end_time in (None, LATER + 1)
    assert [event.time for event in journal.events] == [LATER + 1] * len(journal.events)


def test_holds_are_placed_after_their_student_is_created() -> None:
    """A hold is not placed before its student, and releasing it does not move the student's time back."""
    state = loaded_state(*rows())
    (hold,) = decide(state, PlaceHold("ada", "BURSAR")).holds
    assert hold.place_time == LATER + 1
    assert decide(state, ReleaseHold("ada", "BURSAR")).update_time == LATER + 1


def test_a_correction_does_not_precede_the_end() -> None:
    """A corrected completion keeps its end, and its update is not before it."""
    done = enrollment("ada", "COMPLETED", create_time=NOW - 2, update_time=LATER, end_time=LATER, passed=True)
    state = loaded_state(Student("ada"), Course("c-1", last_number=1), done)
    corrected = decide(state, Complete("ada", "c-1", "F", passed=False))
    assert (corrected.end_time, corrected.update_time) == (LATER, LATER)


def test_new_rows_have_the_time_of_the_clock() -> None:
    """A new row has no earlier times."""
    state = loaded_state(Student("ada", **ROW), Course("c-1", **ROW))
    made = decide(state, RecordCompletion("ada", "c-1"))
    assert (made.create_time, made.update_time, made.end_time) == (NOW, NOW, NOW)


def test_a_deleted_course_is_restored_after_its_deletion() -> None:
    """Undeleting moves the time of the last change, the deletion, not back."""
    state = loaded_state(Course("c-1", create_time=NOW, update_time=LATER, delete_time=LATER))
    restored = decide(state, UndeleteCourse("c-1"))
    assert (restored.delete_time, restored.update_time) == (None, LATER)


def test_rows_of_earlier_versions() -> None:
    """A row whose last change precedes its creation is healed by its next change."""
    state = loaded_state(Student("ada", create_time=LATER, update_time=NOW - 1))
    assert decide(state, UpdateStudent("ada", {"given_name": "Ada"})).update_time == LATER


def test_the_rules_follow_the_clock() -> None:
    """A window that opens between the clock and the row's times is not open yet."""
    state = loaded_state(Student("cy"), Course("c-1", enroll_open_time=NOW + 1, **ROW))
    assert refusal(state, Enroll("cy", "c-1")).reason is Reason.ENROLLMENT_NOT_OPEN
