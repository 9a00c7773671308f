"""Waiters who ask for a seat themselves, by example."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import Enroll, Override, ReleaseHold, Unenroll
from registrar_server.core.decide import decide
from registrar_server.core.records import Course, Student
from registrar_server.core.state import State
from registrar_server.errors import Reason
from tests.support.states import EARLIER, MONDAY, NOW, contents, enrolled, loaded_state, refusal
from tests.support.waitlists import (
    counts,
    course_with_students,
    event_summaries,
    letters,
    state_with_waitlist,
    student_with_hold,
    students,
    waitlist,
)

PAID = Override(frozenset({"STUDENT_HOLD"}), "paid today")
LATE = Override(frozenset({"ENROLLMENT_CLOSED"}), "by letter, in time")
SEAT = Override(frozenset({"COURSE_FULL"}), "athlete")
SEAT_AND_PAID = Override(SEAT.rules | PAID.rules, "athlete, paid")


def assert_keeps_waiting(state: State, student_id: str, course_id: str = "c-1", **options: Any) -> None:
    """Assert that a waiter's call is refused with ALREADY_WAITLISTED, and that nothing has changed."""
    before = contents(state)
    refused = refusal(state, Enroll(student_id, course_id, **options))
    assert (refused.reason, refused.violations) == (Reason.ALREADY_WAITLISTED, ())
    assert refused.metadata["enrollment_id"] == f"{course_id}/{student_id}"
    assert contents(state) == before


class TestOwnTurn:
    """A waiter's own call settles the course first, and takes the waiter's turn on the terms of the call."""

    def test_gets_the_free_seat(self) -> None:
        """The waiter's place becomes the seat; the event has the comment of the call, and no reason."""
        state = state_with_waitlist("a", "bc", capacity=2)
        result, promoted = decide(state, Enroll("b", "c-1", comment="by phone"))
        assert (result.enrollment_id, result.state, result.waitlist_position) == ("c-1/b", "ENROLLED", 0)
        assert promoted == ()
        assert event_summaries(state) == ["STUDENT_PROMOTED b"]
        (event,) = state.journal.events
        assert (event.comment, event.reason, event.violations) == ("by phone", "", ())
        assert (counts(state), waitlist(state)) == ((2, 1), "c")

    def test_after_those_ahead(self) -> None:
        """Those ahead get their seats first; only the caller's event has the comment."""
        state = state_with_waitlist("a", "bcd", capacity=4)
        result, promoted = decide(state, Enroll("d", "c-1", comment="by phone"))
        assert (result.student_id, result.state, letters(promoted)) == ("d", "ENROLLED", "bc")
        assert [(event.student_id, event.comment) for event in state.journal.events] == [
            ("b", ""),
            ("c", ""),
            ("d", "by phone"),
        ]

    def test_before_those_behind(self) -> None:
        """The settlement goes on behind the caller, who is not among the promoted."""
        state = state_with_waitlist("a", "bcd", capacity=3)
        result, promoted = decide(state, Enroll("b", "c-1"))
        assert (result.student_id, letters(promoted)) == ("b", "c")
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]

    def test_between_others(self) -> None:
        """``promoted`` has those ahead and those behind, never the caller."""
        state = state_with_waitlist("a", "bcd", capacity=None)
        result, promoted = decide(state, Enroll("c", "c-1"))
        assert (result.state, letters(promoted)) == ("ENROLLED", "bd")

    def test_after_skipped_waiters(self) -> None:
        """A waiter ahead whom the rules refuse is skipped, as in any settlement."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), capacity=2)
        assert enrolled(state, Enroll("c", "c-1")).state == "ENROLLED"
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "STUDENT_PROMOTED c"]

    def test_after_a_release(self) -> None:
        """A student whose hold was released needs no sweep to get the free seat."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2)
        decide(state, ReleaseHold("b", "BURSAR"))
        assert enrolled(state, Enroll("b", "c-1")).state == "ENROLLED"

    @pytest.mark.parametrize("options", [{}, {"allow_existing": True}, {"no_waitlist": True}])
    def test_with_any_option(self, options: dict[str, Any]) -> None:
        """The options for existing enrollments and for waitlists do not prevent the promotion."""
        state = state_with_waitlist("a", "b", capacity=2)
        assert enrolled(state, Enroll("b", "c-1", **options)).state == "ENROLLED"

    def test_over_capacity_nobody_has_a_turn(self) -> None:
        """A course above its capacity has no free seat."""
        assert_keeps_waiting(state_with_waitlist("abc", "de", capacity=2), "d")


class TestOverride:
    """The override of the call applies to the caller's own turn."""

    def test_sets_a_rule_aside(self) -> None:
        """The event has the reason, the comment and the violation; the enrollment keeps rule and violation."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2)
        result = enrolled(state, Enroll("b", "c-1", override=PAID, comment="by phone"))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("STUDENT_HOLD",))
        assert event_summaries(state) == ["STUDENT_PROMOTED b"]
        (event,) = state.journal.events
        assert (event.reason, event.comment, event.bypassed_rules) == ("paid today", "by phone", ("STUDENT_HOLD",))
        assert [one.reason for one in event.violations] == [Reason.STUDENT_HOLD]
        assert result.bypassed_violations == event.violations

    def test_that_is_not_needed(self) -> None:
        """If no rule is violated, nothing is set aside and the event has no reason."""
        state = state_with_waitlist("a", "b", capacity=2)
        assert enrolled(state, Enroll("b", "c-1", override=SEAT_AND_PAID)).bypassed_rules == ()
        assert state.journal.events[0].reason == ""

    def test_helps_only_the_caller(self) -> None:
        """Those ahead and behind are judged without it."""
        state = state_with_waitlist("a", "bcd", *map(student_with_hold, "bcd"), capacity=None)
        result, promoted = decide(state, Enroll("c", "c-1", override=PAID))
        assert (result.student_id, promoted) == ("c", ())
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "STUDENT_PROMOTED c", "PROMOTION_SKIPPED d"]

    def test_of_another_rule(self) -> None:
        """Without an override of COURSE_FULL, a waiter whom a rule refuses keeps waiting."""
        state = state_with_waitlist("a", "b", student_with_hold("b", max_credits=0), credits=1, capacity=2)
        assert_keeps_waiting(state, "b", override=PAID)

    def test_before_its_turn(self) -> None:
        """A free seat that goes to a waiter ahead is no seat for the caller, and no override is kept for later."""
        state = state_with_waitlist("a", "bc", student_with_hold("c"), capacity=2)
        assert_keeps_waiting(state, "c", override=PAID)
        place = enrolled(state, Enroll("c", "c-1", override=PAID, allow_existing=True))
        assert (place.state, place.bypassed_rules) == ("WAITLISTED", ())


class TestKeepsWaiting:
    """A call that does not give the caller a seat changes nothing, unless it allows the existing place."""

    @pytest.mark.parametrize(
        ("known", "fields"),
        [
            ((), {}),
            ((), {"capacity": 2}),
            ((student_with_hold("c"),), {"capacity": 2}),
            ((student_with_hold("c"),), {"capacity": 9}),
            ((student_with_hold("b"), student_with_hold("c")), {"capacity": 9}),
            ((student_with_hold("b"), student_with_hold("c")), {"capacity": None}),
            ((), {"capacity": 9, "enroll_close_time": NOW}),
            ((), {"capacity": 9, "enroll_open_time": NOW + 1}),
            ((), {"capacity": 9, "state": "CANCELLED"}),
        ],
    )
    def test_already_waitlisted(self, known: tuple[Student, ...], fields: dict[str, Any]) -> None:
        """Nobody is promoted, and nobody is skipped either."""
        assert_keeps_waiting(state_with_waitlist("a", "bcd", *known, **fields), "c")

    def test_allow_existing(self) -> None:
        """The existing place is answered at its new position, and the promotions ahead of it stand."""
        state = state_with_waitlist("a", "bcde", capacity=3)
        place, promoted = decide(state, Enroll("e", "c-1", allow_existing=True, comment="by phone"))
        assert (place.enrollment_id, place.state, place.waitlist_position, place.version) == (
            "c-1/e",
            "WAITLISTED",
            2,
            1,
        )
        assert letters(promoted) == "bc"
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]
        assert {event.comment for event in state.journal.events} == {""}

    def test_allow_existing_skips(self) -> None:
        """Skips of others stand too. The caller's own turn is no skip: the override of the call is not kept."""
        held = (student_with_hold("b"), student_with_hold("c", max_credits=0))
        state = state_with_waitlist("a", "bcd", *held, credits=1, capacity=2)
        place, promoted = decide(state, Enroll("c", "c-1", allow_existing=True, override=PAID))
        assert (place.student_id, place.waitlist_position, place.bypassed_rules) == ("c", 2, ())
        assert letters(promoted) == "d"
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "STUDENT_PROMOTED d"]

    @pytest.mark.parametrize("fields", [{}, {"enroll_close_time": NOW, "capacity": 9}])
    def test_allow_existing_without_a_settlement(self, fields: dict[str, Any]) -> None:
        """Where nobody has a turn, the place is answered and nothing changes."""
        state = state_with_waitlist("a", "bc", **fields)
        before = contents(state)
        place, promoted = decide(state, Enroll("c", "c-1", allow_existing=True))
        assert (place.waitlist_position, promoted) == (2, ())
        assert contents(state) == before

    def test_a_seat(self) -> None:
        """A student with a seat asks for no turn: the course does not settle, as before."""
        state = state_with_waitlist("a", "b", capacity=2)
        before = contents(state)
        assert refusal(state, Enroll("a", "c-1")).reason is Reason.ALREADY_ENROLLED
        assert decide(state, Enroll("a", "c-1", allow_existing=True)).promoted == ()
        assert contents(state) == before


class TestPreview:
    """A preview answers likewise, without the versions and times that only a real change makes."""

    def test_of_a_promotion(self) -> None:
        """The seat has neither a version nor an update time yet."""
        state = state_with_waitlist("a", "b", capacity=2)
        seat = state.journal.preview(enrolled(state, Enroll("b", "c-1")))
        assert (seat.state, seat.version, seat.update_time, seat.create_time) == ("ENROLLED", 0, 0, EARLIER)

    def test_of_an_existing_place(self) -> None:
        """The place keeps its version and its update time, as in a real call."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2)
        place = state.journal.preview(enrolled(state, Enroll("b", "c-1", allow_existing=True)))
        assert event_summaries(state) == []
        assert (place.state, place.version, place.update_time) == ("WAITLISTED", 1, EARLIER)


class TestOutsideTheWindow:
    """A closed course has no turns. An override of the window takes a free seat, as a newcomer's does."""

    def test_with_an_override(self) -> None:
        """The waiter gets the free seat, ahead of the queue, and keeps the rule."""
        state = state_with_waitlist("a", "bc", capacity=2, enroll_close_time=NOW)
        result, promoted = decide(state, Enroll("c", "c-1", override=LATE))
        assert (result.state, result.bypassed_rules, promoted) == ("ENROLLED", ("ENROLLMENT_CLOSED",), ())
        assert event_summaries(state) == ["STUDENT_PROMOTED c"]
        assert state.journal.events[0].reason == "by letter, in time"

    def test_with_a_kept_override(self) -> None:
        """The override of an earlier call is not enough: nobody in the queue gets a turn until the window opens."""
        state = state_with_waitlist("a", "bc", capacity=2, enroll_close_time=NOW)
        waiting = state.live("c", "c-1")
        assert waiting is not None
        waiting.bypassed_rules = ("ENROLLMENT_CLOSED",)
        assert_keeps_waiting(state, "c")
        assert decide(state, Enroll("c", "c-1", override=LATE)).enrollment.state == "ENROLLED"

    def test_chosen_with_a_kept_override(self) -> None:
        """The override that passes the queue is one of COURSE_FULL, and the history says so."""
        state = state_with_waitlist("a", "bc", capacity=2, enroll_close_time=NOW)
        waiting = state.live("c", "c-1")
        assert waiting is not None
        waiting.bypassed_rules = ("ENROLLMENT_CLOSED",)
        chosen = Override(frozenset({"COURSE_FULL"}), "dean")
        assert enrolled(state, Enroll("c", "c-1", override=chosen)).bypassed_rules == (
            "ENROLLMENT_CLOSED",
            "COURSE_FULL",
        )
        (event,) = state.journal.events
        assert (event.reason, [one.reason for one in event.violations]) == ("dean", [Reason.COURSE_FULL])

    def test_of_a_course_without_a_limit(self) -> None:
        """The waiter needs an override of COURSE_FULL there too, and its violation names no capacity."""
        state = state_with_waitlist("a", "b", capacity=None, enroll_close_time=NOW)
        waiting = state.live("b", "c-1")
        assert waiting is not None
        waiting.bypassed_rules = ("ENROLLMENT_CLOSED",)
        decide(state, Enroll("b", "c-1", override=Override(frozenset({"COURSE_FULL"}), "dean")))
        (violation,) = state.journal.events[0].violations
        assert (violation.reason, violation.values) == (Reason.COURSE_FULL, {"enrolled_count": "1"})

    def test_without_a_free_seat(self) -> None:
        """An override of the window alone gives no seat over capacity."""
        assert_keeps_waiting(state_with_waitlist("a", "b", enroll_close_time=NOW), "b", override=LATE)

    def test_in_a_cancelled_course(self) -> None:
        """No override sets a cancellation aside."""
        state = state_with_waitlist("a", "b", capacity=2, enroll_close_time=NOW, state="CANCELLED")
        assert_keeps_waiting(state, "b", override=LATE)


class TestElsewhere:
    """A promotion by an own call counts for later commands of the batch."""

    def test_the_seat_counts(self) -> None:
        """Its meetings conflict with the next course."""
        state = loaded_state(
            *students("ab"),
            *course_with_students("a", "b", capacity=2, meetings=MONDAY),
            Course("c-2", meetings=MONDAY),
        )
        decide(state, Enroll("b", "c-1"))
        assert refusal(state, Enroll("b", "c-2")).reason is Reason.SCHEDULE_CONFLICT

    def test_the_seat_can_be_given_up(self) -> None:
        """The next waiter gets it."""
        state = state_with_waitlist("a", "bc", capacity=2)
        decide(state, Enroll("b", "c-1"))
        assert letters(decide(state, Unenroll("b", "c-1")).promoted) == "c"
