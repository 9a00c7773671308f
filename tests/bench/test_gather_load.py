"""The load of the async client: calls that answer wrongly are counted."""

from __future__ import annotations

from dataclasses import replace

from bench.gather_load import Calls
from registrar_client import Enrolled, EnrollmentState

ENROLLED = Enrolled(enrollment_id="e-1", student_id="S-1", course_id="HOT-0", state=EnrollmentState.ENROLLED)


def wrong(*results: Enrolled) -> int:
    """Return the number of wrong answers if S-1, S-2 and so on enroll in HOT-0."""
    return Calls(answers=[(f"S-{n}", "HOT-0", result) for n, result in enumerate(results, 1)]).wrong_answers()


def test_right_answers_are_not_wrong() -> None:
    assert wrong(ENROLLED, replace(ENROLLED, enrollment_id="e-2", student_id="S-2")) == 0


def test_an_answer_about_another_student_or_course_or_without_a_seat_is_wrong() -> None:
    assert wrong(replace(ENROLLED, student_id="S-2")) == 1
    assert wrong(replace(ENROLLED, course_id="HOT-1")) == 1
    assert wrong(replace(ENROLLED, state=EnrollmentState.WAITLISTED)) == 1


def test_an_enrollment_that_is_answered_twice_is_wrong() -> None:
    assert wrong(ENROLLED, replace(ENROLLED, student_id="S-2")) == 1
