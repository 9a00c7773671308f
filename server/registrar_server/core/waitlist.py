"""Settling a course: the waiters get the free seats, in the order of the queue.

A course settles when a command frees a seat or changes the course, when a student asks for a seat, and when a sweep
finds a free seat. The first waiter that the rules allow is promoted; a waiter that they refuse keeps the position. Each
waiter's turn is a bid. The student who makes the call bids on the terms of the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from registrar_server.core.overrides import NO_OVERRIDE, Override, Verdict, judge
from registrar_server.core.records import Course, Enrollment, Student
from registrar_server.core.rules import NONE, Violations, outside_window, violations
from registrar_server.core.state import State
from registrar_server.core.vocabulary import CourseState
from registrar_server.errors import Violation


@dataclass(slots=True)
class Bid:
    """A student's request for a seat: by a call, with its override and comment, or in the turn of a waiter."""

    student: Student
    course: Course
    waiter: Enrollment | None
    """The student's place on the waitlist; None for a newcomer."""
    override: Override = NO_OVERRIDE
    comment: str = ""
    may_wait: bool = False
    without: str = ""
    """The course whose seat the student gives up for this one."""

    def verdict(self, state: State, no_seat: Violations = NONE) -> Verdict:
        """Return the verdict of the rules; ``no_seat`` adds the violation of a course without a free seat."""
        found = violations(state.case(self.student, self.course, without=self.without))
        found.extend(no_seat)
        return judge(found, self.override, self.waiter)

    def reason(self, verdict: Verdict) -> str:
        """Return the reason of the override if it was needed."""
        return self.override.reason if verdict.set_aside else ""


class Turn(NamedTuple):
    """A waiter's bid and its verdict. Without refusing violations the waiter is promoted, otherwise skipped."""

    bid: Bid
    waiter: Enrollment
    verdict: Verdict


Turns = Sequence[Turn]
"""What settling a course would do: the turns that the history reports, in the order of the queue."""
NO_TURNS: Turns = ()


def turn_of(bid: Bid, turns: Turns) -> Turn | None:
    """Return the turn in which the bid of the call gets a seat, if it does."""
    return next((turn for turn in turns if turn.bid is bid), None)


def promotions(turns: Turns) -> int:
    """Return the number of waiters who get a seat."""
    return sum(not turn.verdict.refusing for turn in turns) if turns else 0


def plan(state: State, course: Course, call: Bid | None = None, *, reserved: int = 0) -> Turns:
    """Return what settling the course would do. Nothing changes, since the command may still be refused.

    ``call`` is the bid of the student who makes the call; it replaces this student's bid as a waiter. The ``reserved``
    seats stay free.
    """
    free = course.seats_left(reserved)
    if not course.waitlisted_count or free == 0 or not _promotes(state, course):
        return NO_TURNS
    caller = call.waiter if call else None
    if caller is not None:
        state.unblock(caller.student_id)
    turns, blocked = [], []
    for waiter in state.waiters(course.course_id):
        bid = call if call and waiter is caller else Bid(state.students[waiter.student_id], course, waiter)
        turn = Turn(bid, waiter, bid.verdict(state))
        if not turn.verdict.refusing:
            turns.append(turn)
            free = free and free - 1
            if free == 0:
                break
        elif waiter is caller:
            # The answer to the call names the obstacles. On the terms of the call, they are not those of the next turn.
            continue
        elif not _alike(turn.verdict.refusing, waiter.last_skip):
            # The history reports a skip again only if its grounds differ from those of the last one.
            turns.append(turn)
        else:
            blocked.append(waiter)
    state.block(blocked)
    return turns


def _promotes(state: State, course: Course) -> bool:
    """Return whether the course promotes waiters. Cancelled, deleted or closed, it does not, even with an override."""
    if course.state != CourseState.OPEN or course.delete_time is not None:
        return False
    return not outside_window(course, state.now)


def _alike(some: Sequence[Violation], others: Sequence[Violation]) -> bool:
    """Return whether the grounds of two skips are equal: the rules and their values, but not the sentences."""
    if len(some) != len(others):
        return False
    for one, other in zip(some, others, strict=True):
        if one.reason is not other.reason or one.values != other.values:
            return False
    return True


def carry_out(state: State, turns: Turns) -> tuple[Enrollment, ...]:
    """Promote and skip as planned, each with its event, and return the promoted enrollments."""
    promoted = []
    for bid, waiter, verdict in turns:
        if verdict.refusing:
            state.skip(bid.course, waiter, verdict.refusing)
        else:
            promote(state, bid, waiter, verdict)
            promoted.append(waiter)
    return tuple(promoted)


def promote(state: State, bid: Bid, waiter: Enrollment, verdict: Verdict) -> None:
    """Give a waiter a seat."""
    state.promote(bid.course, waiter, verdict.set_aside, reason=bid.reason(verdict), comment=bid.comment)


def settle(state: State, course: Course, *, reserved: int = 0) -> tuple[Enrollment, ...]:
    """Give the free seats of a course to its waiters, and return the promoted enrollments."""
    return carry_out(state, plan(state, course, reserved=reserved))
