"""The rules of enrolling: one pure function per rule.

A rule returns no violations, or violations with a sentence and the values that decided it. All rules run, and all
violations are returned, in the order of ``Reason``. ``docs/domain.md`` explains each rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from registrar_server.core.formats import format_credits, format_time
from registrar_server.core.keys import code_key, text_key
from registrar_server.core.records import Commitment, Course, Enrollment, Student, Subject
from registrar_server.core.schedule import WEEKDAYS, Overlap, has_dates, hours_of, overlap
from registrar_server.core.vocabulary import CourseState, StudentState
from registrar_server.errors import Reason, Violation

Violations = Sequence[Violation]
NONE: Violations = ()

# Every case is compared with these, and a member of an enum takes long to look up.
_ACTIVE, _OPEN = StudentState.ACTIVE, CourseState.OPEN


@dataclass(slots=True)
class Case:
    """The input of the rules: a student who asks for a seat in a course at ``now`` (microseconds since 1970 UTC)."""

    student: Student
    course: Course
    now: int
    commitments: Collection[Commitment | Course] = ()
    """The other courses in which the student has a seat, without cancelled ones."""
    prerequisites: Collection[Subject] = ()
    """The prerequisites of the course."""
    passed: Collection[Subject] = ()
    """The courses that the student has passed; loaded only if there are prerequisites."""


def student_is_active(case: Case) -> Violations:
    """The student is active."""
    if case.student.state == _ACTIVE:
        return NONE
    message = f'Student "{case.student.student_id}" is not active.'
    return (Violation(Reason.STUDENT_INACTIVE, message, {"state": case.student.state}),)


def student_has_no_hold(case: Case) -> Violations:
    """The student has no hold; each hold is a violation of its own."""
    if not case.student.holds:
        return NONE
    return [
        Violation(
            Reason.STUDENT_HOLD,
            f'There is a hold "{hold.code}" on student "{case.student.student_id}"{_because(hold.reason)}',
            {"code": hold.code, "reason": hold.reason},
        )
        for hold in case.student.holds
    ]


def _because(reason: str) -> str:
    if not reason:
        return "."
    return f": {reason}" if reason[-1] in ".!?" else f": {reason}."


def course_takes_place(case: Case) -> Violations:
    """The course is not cancelled."""
    if case.course.state == _OPEN:
        return NONE
    message = f'"{case.course.course_id}" is cancelled.'
    return (Violation(Reason.COURSE_CANCELLED, message, {"state": case.course.state}),)


def enrollment_is_open(case: Case) -> Violations:
    """The enrollment window is open."""
    return outside_window(case.course, case.now)


def outside_window(course: Course, now: int) -> Violations:
    """Return the violation of the enrollment window, which is half-open, if ``now`` is outside of it."""
    if course.enroll_open_time is not None and now < course.enroll_open_time:
        opens = format_time(course.enroll_open_time)
        message = f'Enrollment in "{course.course_id}" opens at {opens}.'
        return (Violation(Reason.ENROLLMENT_NOT_OPEN, message, {"enroll_open_time": opens, "now": format_time(now)}),)
    if course.enroll_close_time is not None and now >= course.enroll_close_time:
        closes = format_time(course.enroll_close_time)
        message = f'Enrollment in "{course.course_id}" closed at {closes}.'
        return (Violation(Reason.ENROLLMENT_CLOSED, message, {"enroll_close_time": closes, "now": format_time(now)}),)
    return NONE


def subject_is_new(case: Case) -> Violations:
    """The student has no seat in another offering of the subject in the term; each such offering is a violation.

    Offerings of the same subject have the same non-empty code, term and component, compared by key.
    """
    course = case.course
    if not case.commitments or not (code := code_key(course.code)):
        return NONE
    # Few courses share a code, so the other keys are seldom needed.
    same_code = [other for other in case.commitments if code_key(other.code) == code]
    if not same_code:
        return NONE
    duplicates = [
        _duplicate(case, other)
        for other in same_code
        if other.term_key == course.term_key and other.component_key == course.component_key
    ]
    return sorted(duplicates, key=lambda duplicate: duplicate.values["duplicate_course_id"])


def _duplicate(case: Case, other: Commitment | Course) -> Violation:
    course = case.course
    subject = f"{course.code} ({course.component})" if course.component else course.code
    return Violation(
        Reason.DUPLICATE_COURSE,
        f'"{course.course_id}" is {subject} in the same term as "{other.course_id}", in which student'
        f' "{case.student.student_id}" has a seat.',
        {
            "duplicate_course_id": other.course_id,
            "code": course.code,
            "term": course.term,
            "component": course.component,
        },
    )


def prerequisites_are_met(case: Case) -> Violations:
    """The student has passed each prerequisite, in that course or in one of the same non-empty code, compared by key.

    The prerequisites of prerequisites are not checked.
    """
    if not case.prerequisites:
        return NONE
    ids = {passed.course_id for passed in case.passed}
    codes = {passed.code_key for passed in case.passed} - {""}
    missing = [asked for asked in case.prerequisites if asked.course_id not in ids and asked.code_key not in codes]
    if not missing:
        return NONE
    named = ", ".join(f"{asked.course_id} ({asked.code})" if asked.code else asked.course_id for asked in missing)
    message = f'"{case.course.course_id}" asks for courses to have been passed before: {named}.'
    values = {"missing_course_ids": ", ".join(asked.course_id for asked in missing)}
    return (Violation(Reason.PREREQUISITE_UNMET, message, values),)


def schedule_is_free(case: Case) -> Violations:
    """No meeting overlaps one of another course in which the student has a seat; each such course is a violation."""
    own = hours_of(case.course.meetings)
    # Most meetings are at other hours of the week, so their minutes and dates are compared afterwards.
    at_same_hours = {
        other.course_id: other for other in case.commitments for theirs in other.meetings if own & theirs.hours
    }
    if not at_same_hours:
        return NONE
    conflicts = [
        _schedule_conflict(case.course, other, found)
        for other in at_same_hours.values()
        if (found := _first_overlap(case.course, other)) is not None
    ]
    return sorted(conflicts, key=lambda conflict: conflict.values["conflicting_course_id"])


def _first_overlap(one: Course, other: Commitment | Course) -> Overlap | None:
    for mine in one.meetings:
        for theirs in other.meetings:
            found = overlap(mine, theirs)
            # Without dates, only the terms say whether the meetings are at the same time of the year.
            if found and ((has_dates(mine) and has_dates(theirs)) or _may_share_term(one, other)):
                return found
    return None


def _may_share_term(one: Course, other: Commitment | Course) -> bool:
    mine, theirs = one.term_key, other.term_key
    return not mine or not theirs or mine == theirs


def _schedule_conflict(course: Course, other: Commitment | Course, found: Overlap) -> Violation:
    weekdays = [WEEKDAYS[weekday - 1] for weekday in found.weekdays]
    time = f"{_clock(found.start)}-{_clock(found.end)}"
    days = ", ".join(weekday.capitalize() for weekday in weekdays)
    return Violation(
        Reason.SCHEDULE_CONFLICT,
        f'"{course.course_id}" meets at the same time as "{other.course_id}": {days} {time}.',
        {
            "conflicting_course_id": other.course_id,
            "weekdays": ", ".join(weekdays),
            "time": time,
            "dates": f"{found.start_date or '..'}/{found.end_date or '..'}",
        },
    )


def _clock(seconds: int) -> str:
    whole = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return f"{whole}:{seconds % 60:02}" if seconds % 60 else whole


def credits_are_within_limit(case: Case) -> Violations:
    """The credits of the term, this course included, are at most the student's ``max_credits``."""
    limit, course = case.student.max_credits, case.course
    if limit is None:
        return NONE
    if sum([other.credits for other in case.commitments], course.credits) <= limit:  # Most students are far below it.
        return NONE
    key = text_key(course.term)
    enrolled = sum(other.credits for other in case.commitments if text_key(other.term) == key)
    if enrolled + course.credits <= limit:
        return NONE
    values = {
        "term": course.term,
        "enrolled_credits": format_credits(enrolled),
        "course_credits": format_credits(course.credits),
        "max_credits": format_credits(limit),
    }
    message = (
        f'With the {values["course_credits"]} credits of "{course.course_id}", student "{case.student.student_id}"'
        f" would take {format_credits(enrolled + course.credits)} credits in the term; the most allowed is"
        f" {values['max_credits']}."
    )
    return (Violation(Reason.CREDIT_LIMIT_EXCEEDED, message, values),)


RULES: tuple[Callable[[Case], Violations], ...] = (
    student_is_active,
    student_has_no_hold,
    course_takes_place,
    enrollment_is_open,
    subject_is_new,
    prerequisites_are_met,
    schedule_is_free,
    credits_are_within_limit,
)


def violations(case: Case) -> list[Violation]:
    """Return the rules that a seat for this student would violate, apart from the number of seats."""
    found: list[Violation] = []
    for rule in RULES:
        if broken := rule(case):
            found += broken
    return found


def no_seat(course: Course) -> Violation:
    """Return the violation of a student who finds no free seat and may not wait."""
    capacity = {} if course.capacity is None else {"capacity": str(course.capacity)}
    values = {**capacity, "enrolled_count": str(course.enrolled_count)}
    return Violation(Reason.COURSE_FULL, f"{_seats_taken(course)}.", values)


def no_place_to_wait(course: Course) -> Violation:
    """Return the violation of a newcomer who finds neither a free seat nor a place on the waitlist."""
    values = {
        "capacity": str(course.capacity),
        "enrolled_count": str(course.enrolled_count),
        "waitlist_capacity": str(course.waitlist_capacity),
        "waitlisted_count": str(course.waitlisted_count),
    }
    return Violation(Reason.WAITLIST_FULL, f"{_seats_taken(course)}, and its waitlist is full.", values)


def _seats_taken(course: Course) -> str:
    if course.capacity is None or course.enrolled_count < course.capacity:
        return f'The free seats in "{course.course_id}" go to the students on its waitlist, in order'
    taken = {0: "There are no seats", 1: "The only seat is taken"}
    return f'{taken.get(course.capacity, f"All {course.capacity} seats are taken")} in "{course.course_id}"'


def drop_is_in_time(course: Course, enrollment: Enrollment, now: int) -> Violations:
    """A seat can be dropped before the drop deadline; in a cancelled course, or while waiting, there is no deadline."""
    deadline = course.drop_deadline_time
    if deadline is None or now < deadline or enrollment.waits or course.state != _OPEN:
        return NONE
    values = {"drop_deadline_time": format_time(deadline), "now": format_time(now)}
    message = f'Seats in "{course.course_id}" could be given up until {values["drop_deadline_time"]}.'
    return (Violation(Reason.DROP_DEADLINE_PASSED, message, values),)
