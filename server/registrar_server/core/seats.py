"""Decisions about seats: enroll, unenroll, swap.

A student who asks for a seat makes a bid. The bid is judged as a whole, with what settling the course would do, before
anything changes. A refused command changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from registrar_server.core import rules, waitlist
from registrar_server.core.commands import Enroll, Swap, Unenroll
from registrar_server.core.overrides import NO_OVERRIDE, NO_VIOLATIONS, Override, Verdict, judge
from registrar_server.core.records import Course, Enrollment
from registrar_server.core.state import State
from registrar_server.core.vocabulary import DropReason, EnrollmentState
from registrar_server.core.waitlist import Bid, Turns
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


class Enrolled(NamedTuple):
    """The result of an enrollment: the student's enrollment, and the other students who were promoted."""

    enrollment: Enrollment
    promoted: tuple[Enrollment, ...]


@dataclass(slots=True)
class _Answer:
    """What a bid would get: the state of the enrollment after the course has settled, and the verdict on it."""

    turns: Turns
    """What settling the course would do."""
    standing: EnrollmentState
    """ENROLLED or WAITLISTED."""
    verdict: Verdict


def enroll(state: State, command: Enroll) -> Enrolled:
    """Give the student a seat or a place on the waitlist, or return the live enrollment if the caller allows it.

    The course settles first. A student who waits already may get the seat in turn, or out of turn by an override.
    """
    student = state.student(command.student_id)
    course = state.course(command.course_id)
    current = state.live(command.student_id, command.course_id)
    if current is not None and not current.waits:
        if not command.allow_existing:
            raise _already_live(current)
        return Enrolled(current, ())
    may_wait = current is None and not command.no_waitlist
    bid = Bid(student, course, current, command.override, command.comment, may_wait)
    answer = _answer(state, bid)
    if current is not None and _stays(bid, answer):
        if not command.allow_existing:
            raise _already_live(current, answer.verdict.refusing)
        promoted = waitlist.carry_out(state, answer.turns)
        current.waitlist_position = state.position(current)
        return Enrolled(current, promoted)
    _refuse(answer.verdict.refusing, student_id=command.student_id, course_id=command.course_id)
    return _grant(state, bid, answer)


def unenroll(state: State, command: Unenroll) -> Unenrolled:
    """End the live enrollment, or do nothing if there is no live enrollment and the caller allows it."""
    state.student(command.student_id)
    course = state.course(command.course_id)
    current = state.live(command.student_id, command.course_id)
    if current is None:
        if command.allow_missing:
            return Unenrolled(None, ())
        raise not_enrolled(command.student_id, command.course_id, "live enrollment")
    late = judge(rules.drop_is_in_time(course, current, state.now), command.override)
    _refuse(late.refusing, student_id=command.student_id, course_id=command.course_id)
    frees_seat = not current.waits
    drop(state, course, current, late, reason=command.reason, comment=command.comment, override=command.override)
    return Unenrolled(current, waitlist.settle(state, course) if frees_seat else ())


def swap(state: State, command: Swap) -> Swapped:
    """Take a seat in one course and drop the seat in another: both, or neither."""
    student = state.student(command.student_id)
    origin, target = state.course(command.from_course_id), state.course(command.to_course_id)
    current = state.live(command.student_id, command.from_course_id)
    if current is None or current.waits:
        raise not_enrolled(command.student_id, command.from_course_id, "seat")
    there = state.live(command.student_id, command.to_course_id)
    if there is not None and not there.waits:
        raise _already_live(there)
    bid = Bid(student, target, there, command.override, command.comment, without=command.from_course_id)
    answer = _answer(state, bid)
    if there is not None and _stays(bid, answer):
        raise _already_live(there, answer.verdict.refusing)
    late = judge(rules.drop_is_in_time(origin, current, state.now), command.override)
    _refuse(
        (*answer.verdict.refusing, *late.refusing),
        student_id=command.student_id,
        course_id=target.course_id,
        from_course_id=origin.course_id,
    )
    enrollment, promoted = _grant(state, bid, answer)
    drop(state, origin, current, late, reason=DropReason.SWAPPED, comment=command.comment, override=command.override)
    return Swapped(enrollment, current, (*promoted, *waitlist.settle(state, origin)))


def drop(
    state: State,
    course: Course,
    enrollment: Enrollment,
    late: Verdict = NO_VIOLATIONS,
    *,
    reason: str,
    comment: str = "",
    override: Override = NO_OVERRIDE,
) -> None:
    """End a live enrollment as DROPPED; ``late`` has the violations that the override sets aside for it."""
    enrollment.reason = reason
    event_reason = override.reason if late.set_aside else reason
    state.drop(course, enrollment, late.set_aside, reason=event_reason, comment=comment)


def not_enrolled(student_id: str, course_id: str, needed: str) -> Refusal:
    """Return the refusal of a command that finds no enrollment to act on; ``needed`` names what it needs."""
    return Refusal(
        Reason.NOT_ENROLLED,
        f'Student "{student_id}" has no {needed} in "{course_id}".',
        student_id=student_id,
        course_id=course_id,
    )


def _already_live(current: Enrollment, obstacles: Iterable[Violation] = ()) -> Refusal:
    """Return the refusal for a student with a live enrollment; the obstacles keep a waiter from a seat."""
    reason = Reason.ALREADY_WAITLISTED if current.waits else Reason.ALREADY_ENROLLED
    standing = "on the waitlist of" if current.waits else "enrolled in"
    sentences = (
        f'Student "{current.student_id}" is already {standing} "{current.course_id}".',
        *(obstacle.description for obstacle in obstacles),
    )
    return Refusal(
        reason,
        " ".join(sentences),
        student_id=current.student_id,
        course_id=current.course_id,
        enrollment_id=current.enrollment_id,
    )


def _answer(state: State, bid: Bid) -> _Answer:
    """Return what a bid would get, without changing anything."""
    turns = waitlist.plan(state, bid.course, bid)
    if bid.waiter is not None and (turn := waitlist.turn_of(bid, turns)):
        return _Answer(turns, EnrollmentState.ENROLLED, turn.verdict)
    standing, no_seat = _standing(state, bid, waitlist.promotions(turns))
    return _Answer(turns, standing, bid.verdict(state, no_seat))


def _standing(state: State, bid: Bid, promotions: int) -> tuple[EnrollmentState, rules.Violations]:
    """Return the state that a bid gets after the course has settled, and what that violates.

    ``promotions`` is the number of waiters who get a seat when the course settles.
    """
    course = bid.course
    if course.seats_left(promotions) != 0 and not _needs_turn(state, bid):
        return EnrollmentState.ENROLLED, rules.NONE
    places = course.waitlist_capacity or 0
    has_place = course.waitlisted_count - promotions < places
    if Reason.COURSE_FULL not in bid.override.rules and bid.may_wait and has_place:
        return EnrollmentState.WAITLISTED, rules.NONE
    waitlist_full = bid.may_wait and places > 0 and not has_place
    no_seat = rules.no_place_to_wait(course) if waitlist_full else rules.no_seat(course)
    return EnrollmentState.ENROLLED, (no_seat,)


def _stays(bid: Bid, answer: _Answer) -> bool:
    """Return whether a waiter keeps the place: no seat is given, and no override asks for one out of turn."""
    return bool(answer.verdict.refusing) and Reason.COURSE_FULL not in bid.override.rules


def _needs_turn(state: State, bid: Bid) -> bool:
    """Return whether a waiter has to wait until the window opens, since nobody in the queue has a turn before.

    An override of the window takes a free seat ahead of the queue, but one that is kept from an earlier call does not.
    """
    if bid.waiter is None:
        return False
    outside = rules.outside_window(bid.course, state.now)
    return any(violation.override_rule not in bid.override.rules for violation in outside)


def _refuse(found: Iterable[Violation], **ids: str) -> None:
    """Refuse for violations, if there are any."""
    if refusing := tuple(found):
        raise rules_violated(refusing, **ids)


def _grant(state: State, bid: Bid, answer: _Answer) -> Enrolled:
    """Settle the course, then carry out the bid, unless the settlement did."""
    promoted = waitlist.carry_out(state, answer.turns)
    waiter, verdict = bid.waiter, answer.verdict
    if waiter is None:
        reason = bid.reason(verdict)
        opened = state.open_enrollment(
            bid.student, bid.course, answer.standing, verdict.set_aside, reason=reason, comment=bid.comment
        )
        return Enrolled(opened, promoted)
    if waiter.waits:
        waitlist.promote(state, bid, waiter, verdict)
    return Enrolled(waiter, tuple(one for one in promoted if one is not waiter))
