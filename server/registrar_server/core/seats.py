"""Decisions about seats: enroll, unenroll, swap.

A student who asks for a seat makes a bid. The bid is judged as a whole, with what settling the course would do, before
anything changes. A refused command changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from registrar_server.core import rules, waitlist
from registrar_server.core.commands import NO_OVERRIDE, Enroll, Override, Swap, Unenroll
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import DropReason, EnrollmentState
from registrar_server.core.waitlist import Settlement
from registrar_server.errors import Reason, Refusal, Violation, rules_violated


class Unenrolled(NamedTuple):
    """The result of an unenrollment: the ended enrollment, if there was one, and the waiters promoted for it."""

    enrollment: Enrollment | None
    promoted: tuple[Enrollment, ...]


class Swapped(NamedTuple):
    """The result of a swap: the new enrollment, the dropped one, and the waiters promoted for it."""

    enrollment: Enrollment
    dropped: Enrollment
    promoted: tuple[Enrollment, ...]


class Bid(NamedTuple):
    """A student's request for a seat, with its violations and the state that the student gets if they are set aside."""

    student: Student
    course: Course
    waiting: Enrollment | None
    """The student's place on the waitlist, if the bid asks to be seated out of turn."""
    settlement: Settlement
    standing: EnrollmentState
    """ENROLLED or WAITLISTED."""
    violations: tuple[Violation, ...]


def enroll(state: State, command: Enroll) -> Enrollment:
    """Give the student a seat or a place on the waitlist, or return the live enrollment if the caller allows it."""
    student = state.student(command.student_id)
    course = state.course(command.course_id)
    current = state.live(command.student_id, command.course_id)
    if current is not None and not _is_chosen(current, command.override):
        if not command.allow_existing:
            raise _already_live(current)
        if current.waits:
            current.waitlist_position = state.position(current)
        return current
    bid = _bid(state, student, course, command.override, may_wait=not command.no_waitlist)
    ids = {"student_id": command.student_id, "course_id": command.course_id}
    _refuse_unless_overridden(bid.violations, command.override, _kept(bid), ids)
    return _grant(state, bid, command.override, command.comment)[0]


def unenroll(state: State, command: Unenroll) -> Unenrolled:
    """End the live enrollment, or do nothing if there is no live enrollment and the caller allows it."""
    state.student(command.student_id)
    course = state.course(command.course_id)
    current = state.live(command.student_id, command.course_id)
    if current is None:
        if command.allow_missing:
            return Unenrolled(None, ())
        raise not_enrolled(command.student_id, command.course_id, "live enrollment")
    late = rules.drop_is_in_time(course, current, state.now)
    ids = {"student_id": command.student_id, "course_id": command.course_id}
    _refuse_unless_overridden(late, command.override, (), ids)
    frees_seat = not current.waits
    drop(state, course, current, reason=command.reason, comment=command.comment, late=late, override=command.override)
    return Unenrolled(current, waitlist.settle(state, course) if frees_seat else ())


def swap(state: State, command: Swap) -> Swapped:
    """Take a seat in one course and drop the seat in another: both, or neither."""
    student = state.student(command.student_id)
    origin, target = state.course(command.from_course_id), state.course(command.to_course_id)
    current = state.live(command.student_id, command.from_course_id)
    if current is None or current.waits:
        raise not_enrolled(command.student_id, command.from_course_id, "seat")
    there = state.live(command.student_id, command.to_course_id)
    if there is not None and not _is_chosen(there, command.override):
        raise _already_live(there)
    bid = _bid(state, student, target, command.override, may_wait=False, without=command.from_course_id)
    late = rules.drop_is_in_time(origin, current, state.now)
    ids = {"student_id": command.student_id, "course_id": target.course_id, "from_course_id": origin.course_id}
    _refuse_unless_overridden((*bid.violations, *late), command.override, _kept(bid), ids)
    enrollment, promoted = _grant(state, bid, command.override, command.comment)
    drop(
        state, origin, current, reason=DropReason.SWAPPED, comment=command.comment, late=late, override=command.override
    )
    return Swapped(enrollment, current, (*promoted, *waitlist.settle(state, origin)))


def drop(
    state: State,
    course: Course,
    enrollment: Enrollment,
    *,
    reason: str,
    comment: str = "",
    late: Iterable[Violation] = (),
    override: Override = NO_OVERRIDE,
) -> None:
    """End a live enrollment as DROPPED; ``late`` are the violations that the override sets aside for it."""
    bypassed = rules.to_override(late)
    enrollment.reason = reason
    enrollment.bypassed_rules = rules.in_order({*enrollment.bypassed_rules, *bypassed})
    state.drop(course, enrollment, reason=override.reason if bypassed else reason, comment=comment)


def not_enrolled(student_id: str, course_id: str, needed: str) -> Refusal:
    """Return the refusal of a command that finds no enrollment to act on; ``needed`` names what it needs."""
    return Refusal(
        Reason.NOT_ENROLLED,
        f'Student "{student_id}" has no {needed} in "{course_id}".',
        student_id=student_id,
        course_id=course_id,
    )


def _already_live(current: Enrollment) -> Refusal:
    reason = Reason.ALREADY_WAITLISTED if current.waits else Reason.ALREADY_ENROLLED
    standing = "on the waitlist of" if current.waits else "enrolled in"
    return Refusal(
        reason,
        f'Student "{current.student_id}" is already {standing} "{current.course_id}".',
        student_id=current.student_id,
        course_id=current.course_id,
        enrollment_id=current.enrollment_id,
    )


def _is_chosen(current: Enrollment, override: Override) -> bool:
    """Return whether the override seats a waiter out of turn."""
    return current.waits and Reason.COURSE_FULL in override.rules


def _bid(
    state: State, student: Student, course: Course, override: Override, *, may_wait: bool, without: str = ""
) -> Bid:
    settlement = waitlist.plan(state, course)
    broken = rules.violations(state.case(student, course, without=without))
    standing, no_seat = _standing(course, settlement, override, may_wait=may_wait)
    if no_seat is not None:
        broken.append(no_seat)
    waiting = state.live(student.student_id, course.course_id)
    return Bid(student, course, waiting, settlement, standing, tuple(broken))


def _standing(
    course: Course, settlement: Settlement, override: Override, *, may_wait: bool
) -> tuple[EnrollmentState, Violation | None]:
    """Return the state that a newcomer gets after the course has settled, and what that violates."""
    if settlement.free != 0:
        return EnrollmentState.ENROLLED, None
    places = course.waitlist_capacity or 0
    has_place = course.waitlisted_count - len(settlement.promoted) < places
    if Reason.COURSE_FULL not in override.rules and may_wait and has_place:
        return EnrollmentState.WAITLISTED, None
    waitlist_full = may_wait and places > 0 and not has_place
    return EnrollmentState.ENROLLED, rules.no_place_to_wait(course) if waitlist_full else rules.no_seat(course)


def _kept(bid: Bid) -> tuple[str, ...]:
    """Return the rules that were set aside when the student came to the waitlist; they stay set aside."""
    return bid.waiting.bypassed_rules if bid.waiting else ()


def _refuse_unless_overridden(
    found: Iterable[Violation], override: Override, kept: Collection[str], ids: Mapping[str, str]
) -> None:
    refusing = [one for one in found if one.override_rule not in override.rules and one.override_rule not in kept]
    if refusing:
        raise rules_violated(refusing, **ids)


def _grant(state: State, bid: Bid, override: Override, comment: str) -> tuple[Enrollment, tuple[Enrollment, ...]]:
    """Settle the course, then carry out the bid; return its enrollment and the promoted ones."""
    promoted = waitlist.carry_out(state, bid.course, bid.settlement)
    bypassed = rules.to_override(bid.violations)
    reason = override.reason if any(rule in override.rules for rule in bypassed) else ""
    if bid.waiting is None:
        opened = state.open_enrollment(bid.student, bid.course, bid.standing, bypassed, reason=reason, comment=comment)
        return opened, promoted
    # If the settlement promoted the student already, there is nothing left to give.
    if bid.waiting.waits:
        bid.waiting.bypassed_rules = rules.in_order({*bid.waiting.bypassed_rules, *bypassed})
        state.promote(bid.course, bid.waiting, reason=reason, comment=comment)
    return bid.waiting, promoted
