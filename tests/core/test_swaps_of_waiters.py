"""Swaps into a course where the student waits already, by example."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import Override, Swap
from registrar_server.core.decide import decide
from registrar_server.core.records import Student
from registrar_server.core.state import State
from registrar_server.errors import Reason
from tests.support.states import MONDAY, NOW, contents, loaded_state, refusal
from tests.support.waitlists import (
    counts,
    course_with_students,
    event_summaries,
    letters,
    student_with_hold,
    students,
    waitlist,
)

SWAP = Swap("a", "c-1", "c-2")
SEAT = Override(frozenset({"COURSE_FULL"}), "athlete")
PAID = Override(frozenset({"STUDENT_HOLD"}), "paid today")


def waiting_for_c2(waiting: str, *known: Student, fields: dict[str, Any] | None = None, **target: Any) -> State:
    """Return a state in which a and q have the seats of c-1, w waits for them, and some students wait for c-2.

    ``fields`` are those of both courses, ``target`` those of c-2, in which x has a seat.
    """
    shared = fields or {}
    known_ids = {student.student_id for student in known}
    return loaded_state(
        *known,
        *students("".join(sorted({*"aqwx", *waiting} - known_ids))),
        *course_with_students("aq", "w", **shared),
        *course_with_students("x", waiting, "c-2", **shared | target),
    )


def assert_keeps_waiting(state: State, command: Swap = SWAP) -> None:
    """Assert that a swap is refused with ALREADY_WAITLISTED, and that nothing has changed."""
    before = contents(state)
    refused = refusal(state, command)
    assert (refused.reason, refused.violations) == (Reason.ALREADY_WAITLISTED, ())
    assert refused.metadata == {"student_id": "a", "course_id": "c-2", "enrollment_id": "c-2/a"}
    assert contents(state) == before


class TestASeatIsLeft:
    """The swap promotes the student's own place, after those ahead have had their turn."""

    def test_promotes_the_place(self) -> None:
        """The place on the waitlist becomes the seat, and the seat in the other course goes to its waiter."""
        state = waiting_for_c2("ba", capacity=3)
        enrollment, dropped, promoted = decide(state, Swap("a", "c-1", "c-2", comment="by phone"))
        assert (enrollment.enrollment_id, enrollment.state) == ("c-2/a", "ENROLLED")
        assert (dropped.enrollment_id, dropped.state, dropped.reason) == ("c-1/a", "DROPPED", "SWAPPED")
        assert [(one.course_id, one.student_id) for one in promoted] == [("c-2", "b"), ("c-1", "w")]
        assert event_summaries(state) == [
            "STUDENT_PROMOTED b",
            "STUDENT_PROMOTED a",
            "STUDENT_UNENROLLED a",
            "STUDENT_PROMOTED w",
        ]
        assert [event.comment for event in state.journal.events] == ["", "by phone", "by phone", ""]
        assert (counts(state), counts(state, "c-2")) == ((2, 0), (3, 0))

    def test_those_behind_get_the_rest(self) -> None:
        """``promoted`` has all others, and never the student."""
        state = waiting_for_c2("bac", capacity=None)
        enrollment, _, promoted = decide(state, SWAP)
        assert (enrollment.student_id, letters(promoted)) == ("a", "bcw")

    @pytest.mark.parametrize(
        "fields",
        [{"meetings": MONDAY}, {"code": "MATH 1", "term": "fall"}, {"credits": 3_000}],
        ids=["meetings", "subject", "credits"],
    )
    def test_judges_as_if_the_other_seat_were_gone(self, fields: dict[str, Any]) -> None:
        """A student who waits for another section of the same course is not in the own way, and is never skipped."""
        state = waiting_for_c2("ab", Student("a", max_credits=3_000), fields=fields, capacity=2)
        enrollment, _, promoted = decide(state, SWAP)
        assert (enrollment.state, enrollment.bypassed_rules, letters(promoted)) == ("ENROLLED", (), "w")
        assert event_summaries(state) == ["STUDENT_PROMOTED a", "STUDENT_UNENROLLED a", "STUDENT_PROMOTED w"]
        assert (counts(state, "c-2"), waitlist(state, "c-2")) == ((2, 1), "b")

    def test_behind_a_waiter_whom_the_rules_refuse(self) -> None:
        """A waiter ahead is skipped, and the swap gets the seat."""
        state = waiting_for_c2("ba", student_with_hold("b"), capacity=2)
        assert decide(state, SWAP).enrollment.state == "ENROLLED"
        assert event_summaries(state)[:2] == ["PROMOTION_SKIPPED b", "STUDENT_PROMOTED a"]

    def test_with_an_override(self) -> None:
        """The override of the swap applies to the turn, and the event has its reason."""
        state = waiting_for_c2("a", student_with_hold("a"), capacity=2)
        enrollment = decide(state, Swap("a", "c-1", "c-2", override=PAID)).enrollment
        assert enrollment.bypassed_rules == ("STUDENT_HOLD",)
        assert [(event.type, event.reason) for event in state.journal.events[:2]] == [
            ("STUDENT_PROMOTED", "paid today"),
            ("STUDENT_UNENROLLED", "SWAPPED"),
        ]

    def test_of_a_chosen_student(self) -> None:
        """With a seat left, an override of COURSE_FULL is not needed and not kept."""
        state = waiting_for_c2("ba", capacity=3)
        enrollment = decide(state, Swap("a", "c-1", "c-2", override=SEAT)).enrollment
        assert (enrollment.bypassed_rules, counts(state, "c-2")) == ((), (3, 0))


class TestNoSeatIsLeft:
    """Without a seat the student keeps both the seat and the place."""

    @pytest.mark.parametrize(
        ("waiting", "target"),
        [
            ("a", {}),
            ("ba", {"capacity": 2}),
            ("a", {"capacity": 0}),
            ("a", {"capacity": 9, "enroll_close_time": NOW}),
            ("a", {"capacity": 9, "state": "CANCELLED"}),
        ],
        ids=["full", "others-ahead", "over-capacity", "closed", "cancelled"],
    )
    def test_already_waitlisted(self, waiting: str, target: dict[str, Any]) -> None:
        """Nobody is promoted, in neither course."""
        assert_keeps_waiting(waiting_for_c2(waiting, **target))

    def test_refused_by_a_rule(self) -> None:
        """A rule that the swap does not set aside leaves everything as it is, also without a skip."""
        assert_keeps_waiting(waiting_for_c2("a", student_with_hold("a"), capacity=2))

    def test_over_capacity(self) -> None:
        """Only COURSE_FULL seats the student over capacity; an eligible waiter ahead gets the free seat first."""
        state = waiting_for_c2("ba", capacity=2)
        enrollment, _, promoted = decide(state, Swap("a", "c-1", "c-2", override=SEAT))
        assert (enrollment.bypassed_rules, letters(promoted)) == (("COURSE_FULL",), "bw")
        assert event_summaries(state)[:2] == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED a"]
        assert state.journal.events[1].reason == "athlete"
        assert counts(state, "c-2") == (3, 0)

    def test_over_capacity_with_a_conflict(self) -> None:
        """Also over capacity the seat that is given up is in nobody's way."""
        state = waiting_for_c2("a", fields={"meetings": MONDAY})
        enrollment = decide(state, Swap("a", "c-1", "c-2", override=SEAT)).enrollment
        assert enrollment.bypassed_rules == ("COURSE_FULL",)

    def test_a_chosen_student_whom_a_rule_refuses(self) -> None:
        """The refusal names the rule, and nothing has changed."""
        state = waiting_for_c2("ba", student_with_hold("a"), capacity=3)
        before = contents(state)
        refused = refusal(state, Swap("a", "c-1", "c-2", override=SEAT))
        assert [one.reason for one in refused.violations] == [Reason.STUDENT_HOLD]
        assert contents(state) == before


class TestDropDeadline:
    """The drop deadline of the other course applies."""

    def test_past_it(self) -> None:
        """A student whose turn has come is refused with the deadline, and nothing has changed."""
        state = waiting_for_c2("ba", fields={"drop_deadline_time": NOW}, capacity=3)
        before = contents(state)
        refused = refusal(state, SWAP)
        assert [one.reason for one in refused.violations] == [Reason.DROP_DEADLINE_PASSED]
        assert contents(state) == before

    def test_past_it_without_a_seat(self) -> None:
        """A student whose turn has not come waits already; this is checked first."""
        assert_keeps_waiting(waiting_for_c2("a", fields={"drop_deadline_time": NOW}))
