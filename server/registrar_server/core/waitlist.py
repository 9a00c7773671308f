"""Settling a course: the waiters get the free seats, in the order of the queue.

A course settles when a command frees or adds a seat, and when a newcomer asks for one. The first waiter that the rules
allow is promoted; a waiter that they refuse keeps the position. The rules that an override set aside when the waiter
came stay set aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from registrar_server.core.records import Course, Enrollment
from registrar_server.core.rules import outside_window, violations
from registrar_server.core.state import State
from registrar_server.core.vocabulary import CourseState
from registrar_server.errors import Reason, Violation


class Turn(NamedTuple):
    """A waiter whose turn it is, and the violations that prevent the promotion; without any, the waiter is promoted."""

    waiter: Enrollment
    obstacles: tuple[Violation, ...]


class Settlement(NamedTuple):
    """What settling would do: the turns, and the number of seats still free afterwards (None is unlimited)."""

    turns: tuple[Turn, ...]
    free: int | None

    @property
    def promoted(self) -> tuple[Enrollment, ...]:
        """The waiters who get a seat, in the order of the queue."""
        return tuple(turn.waiter for turn in self.turns if not turn.obstacles)


def plan(state: State, course: Course) -> Settlement:
    """Return what settling the course would do. Nothing changes, since the command may still be refused."""
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
    """Return whether the course promotes waiters. Cancelled, deleted or closed, it does not, even with an override."""
    if course.state != CourseState.OPEN or course.delete_time is not None:
        return False
    return not outside_window(course, state.now)


def _obstacles(state: State, course: Course, waiter: Enrollment) -> tuple[Violation, ...]:
    found = violations(state.case(state.students[waiter.student_id], course))
    return tuple(violation for violation in found if violation.override_rule not in waiter.bypassed_rules)


def carry_out(state: State, course: Course, settlement: Settlement) -> tuple[Enrollment, ...]:
    """Promote and skip as planned, each with its event, and return the promoted enrollments."""
    for waiter, obstacles in settlement.turns:
        if not obstacles:
            state.promote(course, waiter)
        elif _grounds(obstacles) != _grounds(waiter.last_skip):
            # The history reports a skip again only if its reasons differ from those of the last one.
            state.skip(course, waiter, obstacles)
    return settlement.promoted


def _grounds(found: Iterable[Violation]) -> list[tuple[Reason, Mapping[str, str]]]:
    """Return what decides a skip: the rules and their values, but not the sentences."""
    return [(violation.reason, violation.values) for violation in found]


def settle(state: State, course: Course) -> tuple[Enrollment, ...]:
    """Give the free seats of a course to its waiters, and return the promoted enrollments."""
    return carry_out(state, course, plan(state, course))
