"""Waiters whom an override of COURSE_FULL chooses, by example: in their turn, and out of turn."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import Enroll, Override
from registrar_server.core.decide import decide
from registrar_server.errors import Reason
from tests.support.states import contents, enrolled, refusal
from tests.support.waitlists import (
    counts,
    event_summaries,
    letters,
    state_with_waitlist,
    student_with_hold,
)

PAID = Override(frozenset({"STUDENT_HOLD"}), "paid today")
SEAT = Override(frozenset({"COURSE_FULL"}), "athlete")
SEAT_AND_PAID = Override(SEAT.rules | PAID.rules, "athlete, paid")


class TestChosen:
    """A waiter whom an override of COURSE_FULL chooses gets a seat in any case that the other rules allow."""

    def test_in_turn(self) -> None:
        """A seat that is left in the waiter's turn is within capacity: COURSE_FULL is not kept."""
        state = state_with_waitlist("a", "bc", student_with_hold("c"), capacity=3)
        result, promoted = decide(state, Enroll("c", "c-1", override=SEAT_AND_PAID, comment="by phone"))
        assert (result.bypassed_rules, letters(promoted)) == (("STUDENT_HOLD",), "b")
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]
        event = state.journal.events[-1]
        assert (event.reason, event.comment, event.bypassed_rules) == ("athlete, paid", "by phone", ("STUDENT_HOLD",))
        assert counts(state) == (3, 0)

    def test_out_of_turn(self) -> None:
        """An eligible waiter ahead gets the free seat, and the chosen one sits over capacity."""
        state = state_with_waitlist("a", "bc", student_with_hold("c"), capacity=2)
        result, promoted = decide(state, Enroll("c", "c-1", override=SEAT_AND_PAID, comment="by phone"))
        assert (result.bypassed_rules, letters(promoted)) == (("STUDENT_HOLD", "COURSE_FULL"), "b")
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]
        event = state.journal.events[-1]
        assert (event.reason, event.comment) == ("athlete, paid", "by phone")
        assert [one.reason for one in event.violations] == [Reason.STUDENT_HOLD, Reason.COURSE_FULL]
        assert counts(state) == (3, 0)

    def test_behind_a_waiter_whom_the_rules_refuse(self) -> None:
        """The seat that the waiter ahead cannot have is the chosen one's own."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), capacity=2)
        assert enrolled(state, Enroll("c", "c-1", override=SEAT)).bypassed_rules == ()
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "STUDENT_PROMOTED c"]
        assert counts(state) == (2, 1)

    def test_is_never_skipped(self) -> None:
        """The settlement judges the chosen waiter by the new override, so the history has no skip before the seat."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2)
        enrolled(state, Enroll("b", "c-1", override=SEAT_AND_PAID))
        assert event_summaries(state) == ["STUDENT_PROMOTED b"]

    @pytest.mark.parametrize("capacity", [1, 2, 3, None])
    @pytest.mark.parametrize("options", [{}, {"allow_existing": True}])
    def test_refused_by_other_rules(self, capacity: int | None, options: dict[str, Any]) -> None:
        """The refusal names the rules, and nothing has changed: nobody ahead is promoted either."""
        state = state_with_waitlist("a", "bc", student_with_hold("c"), capacity=capacity)
        before = contents(state)
        refused = refusal(state, Enroll("c", "c-1", override=SEAT, **options))
        assert [one.reason for one in refused.violations] == [Reason.STUDENT_HOLD]
        assert contents(state) == before

    def test_in_a_course_over_capacity(self) -> None:
        """No seat is free for anybody, and the chosen one gets one more."""
        state = state_with_waitlist("abc", "de", capacity=2)
        result, promoted = decide(state, Enroll("e", "c-1", override=SEAT))
        assert (result.bypassed_rules, promoted, counts(state)) == (("COURSE_FULL",), (), (4, 1))

    def test_twice(self) -> None:
        """The second call finds a seat."""
        state = state_with_waitlist("a", "b")
        decide(state, Enroll("b", "c-1", override=SEAT))
        assert refusal(state, Enroll("b", "c-1", override=SEAT)).reason is Reason.ALREADY_ENROLLED
