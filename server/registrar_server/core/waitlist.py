"""Settling a course: those who wait, in the order of the queue, get the seats that are free.

A course settles when a command frees or adds a seat, or when a newcomer asks for one. The first waiter whom the rules
allow to have the seat is promoted; one whom they do not keeps the place. What was set aside by an override when the
waiter came stays set aside.
"""

from __future__ import annotations

from typing import NamedTuple

from registrar_server.core.records import Course, Enrollment
from registrar_server.core.rules import outside_window, violations
from registrar_server.core.state import State
from registrar_server.errors import Violation


class Turn(NamedTuple):
    """A waiter whose turn it was, and what stood in the way; with nothing in the way, a promotion."""

    waiter: Enrollment
    obstacles: tuple[Violation, ...]


class Settlement(NamedTuple):
    """What settling would do: whose turn it is, and how many seats are free afterwards (None is unlimited)."""

    turns: tuple[Turn, ...]
    free: int | None

    @property
    def promoted(self) -> tuple[Enrollment, ...]:
        """Those who get a seat, in the order of the queue."""
        return tuple(turn.waiter for turn in self.turns if not turn.obstacles)


def plan(state: State, course: Course) -> Settlement:
    """Return what settling the course would do, and do nothing: a command may still be refused."""
    free = course.seats_available
    if not course.waitlisted_count or free == 0 or not _promotes(state, course):
        return Settlement((), free)
    turns = []
    for waiter in state.waiters(course.course_id):
        turn = Turn(waiter, _obstacles(state, course, waiter))
        turns.append(turn)
        if free is not None and not turn.obstacles:
            free -= 1
            if not free:
                break
    return Settlement(tuple(turns), free)


def _promotes(state: State, course: Course) -> bool:
    """Whether the course promotes at all: outside its window, cancelled or deleted it does not, whatever overrides."""
    if course.state != "OPEN" or course.delete_time is not None:
        return False
    return not outside_window(course, state.now)


def _obstacles(state: State, course: Course, waiter: Enrollment) -> tuple[Violation, ...]:
    found = violations(state.case(state.students[waiter.student_id], course))
    return tuple(violation for violation in found if violation.override_rule not in waiter.bypassed_rules)


def carry_out(state: State, course: Course, settlement: Settlement) -> tuple[Enrollment, ...]:
    """Promote and skip as planned, each with its event, and return the promoted."""
    for waiter, obstacles in settlement.turns:
        if obstacles:
            _skip(state, course, waiter, obstacles)
        else:
            promote(state, course, waiter)
    return settlement.promoted


def settle(state: State, course: Course) -> tuple[Enrollment, ...]:
    """Give the free seats of a course to those who wait for them, and return the promoted."""
    return carry_out(state, course, plan(state, course))


def promote(state: State, course: Course, waiter: Enrollment, *, reason: str = "", comment: str = "") -> None:
    """Give a waiter a seat, with the event that tells of it."""
    state.promote(course, waiter)
    state.journal.record(
        "STUDENT_PROMOTED",
        course=course,
        enrollment=waiter,
        previous_state="WAITLISTED",
        reason=reason,
        comment=comment,
    )


def _skip(state: State, course: Course, waiter: Enrollment, obstacles: tuple[Violation, ...]) -> None:
    """Remember a skip, and tell of it where it has other reasons than the last."""
    if obstacles == waiter.last_skip:
        return
    waiter.last_skip = obstacles
    state.journal.touch_enrollment(waiter)
    state.journal.record(
        "PROMOTION_SKIPPED", course=course, enrollment=waiter, previous_state="WAITLISTED", violations=obstacles
    )
