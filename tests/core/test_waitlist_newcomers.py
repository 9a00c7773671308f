"""Newcomers and waiters, by example: free seats, seats out of turn, and positions on the waitlist."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import Enroll, Override, ReleaseHold, Unenroll, UpdateCourse
from registrar_server.core.decide import decide
from registrar_server.errors import Reason, Violation
from tests.support.states import NOW, contents, enrolled, enrollment, loaded_state, refusal
from tests.support.waitlists import (
    counts,
    course_with_students,
    event_summaries,
    state_with_waitlist,
    student_with_hold,
    students,
    waitlist,
)

SEAT = Override(frozenset({"COURSE_FULL"}), "athlete")
GO_TO_WAITERS = 'The free seats in "c-1" go to the students on its waitlist, in order'


class TestFreeSeat:
    """Free seats go to the waiters who can have them before they go to a newcomer."""

    def test_goes_to_the_first_waiter(self) -> None:
        """The course settles before the newcomer joins the waitlist."""
        state = state_with_waitlist("a", "bc", capacity=2)
        result = enrolled(state, Enroll("z", "c-1"))
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_WAITLISTED z"]
        assert (result.state, result.waitlist_position) == ("WAITLISTED", 2)
        assert (counts(state), waitlist(state)) == ((2, 2), "cz")

    def test_enough_for_all(self) -> None:
        """The newcomer gets a seat that is left after the waiters."""
        state = state_with_waitlist("a", "bc", capacity=4)
        assert enrolled(state, Enroll("z", "c-1")).state == "ENROLLED"
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c", "STUDENT_ENROLLED z"]
        assert [event.enrolled_count for event in state.journal.events] == [2, 3, 4]

    def test_unlimited_seats(self) -> None:
        """With unlimited seats every waiter that the rules allow is promoted, and the newcomer enrolls."""
        state = state_with_waitlist("a", "bcd", student_with_hold("c"), capacity=None)
        assert enrolled(state, Enroll("z", "c-1")).state == "ENROLLED"
        assert event_summaries(state) == [
            "STUDENT_PROMOTED b",
            "PROMOTION_SKIPPED c",
            "STUDENT_PROMOTED d",
            "STUDENT_ENROLLED z",
        ]

    def test_passes_skipped_waiters(self) -> None:
        """A newcomer gets the seat if the rules keep every waiter from it, and each skip has an event."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), student_with_hold("c"), capacity=2)
        assert enrolled(state, Enroll("z", "c-1")).state == "ENROLLED"
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "PROMOTION_SKIPPED c", "STUDENT_ENROLLED z"]
        assert (counts(state), waitlist(state)) == ((2, 2), "bc")

    def test_no_free_seat(self) -> None:
        """Without a free seat no waiter is skipped."""
        state = state_with_waitlist("a", "b", student_with_hold("b"))
        assert enrolled(state, Enroll("z", "c-1")).state == "WAITLISTED"
        assert event_summaries(state) == ["STUDENT_WAITLISTED z"]

    def test_outside_the_window(self) -> None:
        """No waiter can be promoted outside the window, so a newcomer with an override passes them all."""
        state = state_with_waitlist("a", "b", capacity=2, enroll_close_time=NOW)
        late = Override(frozenset({"ENROLLMENT_CLOSED"}), "by letter, in time")
        result = enrolled(state, Enroll("z", "c-1", override=late))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("ENROLLMENT_CLOSED",))
        assert event_summaries(state) == ["STUDENT_ENROLLED z"]


class TestRefusedNewcomer:
    """A refused command changes nothing, and promotes no waiter."""

    @pytest.mark.parametrize(
        ("command", "fields", "reason", "sentence"),
        [
            (Enroll("z", "c-1", no_waitlist=True), {}, Reason.COURSE_FULL, "."),
            (Enroll("z", "c-1"), {"waitlist_capacity": None}, Reason.COURSE_FULL, "."),
            (Enroll("z", "c-1"), {"waitlist_capacity": 0}, Reason.COURSE_FULL, "."),
            (Enroll("z", "c-1"), {"waitlist_capacity": 1}, Reason.WAITLIST_FULL, ", and its waitlist is full."),
        ],
        ids=["would-not-wait", "no-waitlist", "no-places", "no-place"],
    )
    def test_no_place(self, command: Enroll, fields: dict[str, Any], reason: Reason, sentence: str) -> None:
        """The message says that the free seats go to the waiters."""
        state = state_with_waitlist("a", "bc", capacity=2, **fields)
        before = contents(state)
        refused = refusal(state, command)
        assert (refused.reason, refused.message) == (reason, GO_TO_WAITERS + sentence)
        (violation,) = refused.violations
        assert (violation.values["capacity"], violation.values["enrolled_count"]) == ("2", "1")
        assert violation.override_rule == "COURSE_FULL"
        assert contents(state) == before

    def test_by_another_rule(self) -> None:
        """A refusal by another rule promotes no waiter either."""
        state = state_with_waitlist("a", "bc", student_with_hold("z"), capacity=3)
        before = contents(state)
        assert [one.reason for one in refusal(state, Enroll("z", "c-1")).violations] == [Reason.STUDENT_HOLD]
        assert contents(state) == before

    def test_the_place_of_a_promoted_waiter(self) -> None:
        """A full waitlist has room for the newcomer after a promotion."""
        state = state_with_waitlist("a", "bc", capacity=2, waitlist_capacity=2)
        assert enrolled(state, Enroll("z", "c-1")).state == "WAITLISTED"
        assert waitlist(state) == "cz"


class TestOverride:
    """An override of COURSE_FULL gives a newcomer a seat over capacity, and takes none from the waiters."""

    def test_of_a_full_course(self) -> None:
        """The waitlist stays as it is."""
        state = state_with_waitlist("a", "bc")
        result = enrolled(state, Enroll("z", "c-1", override=SEAT))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("COURSE_FULL",))
        assert event_summaries(state) == ["STUDENT_ENROLLED z"]
        assert (counts(state), waitlist(state)) == ((2, 2), "bc")

    def test_with_a_free_seat(self) -> None:
        """The first waiter gets the free seat, and the newcomer a seat over capacity."""
        state = state_with_waitlist("a", "bc", capacity=2)
        result = enrolled(state, Enroll("z", "c-1", override=SEAT))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("COURSE_FULL",))
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_ENROLLED z"]
        assert (counts(state), waitlist(state)) == ((3, 1), "c")

    def test_an_unneeded_override(self) -> None:
        """A seat that is left for the newcomer is within capacity, so nothing is bypassed."""
        state = state_with_waitlist("a", "b", capacity=3)
        assert enrolled(state, Enroll("z", "c-1", override=SEAT)).bypassed_rules == ()


class TestOutOfTurn:
    """An override of COURSE_FULL promotes a waiter out of turn, if the other rules allow it."""

    def test_gets_a_seat_over_capacity(self) -> None:
        """The waiter's enrollment is promoted with the override's reason, and those ahead keep waiting."""
        state = state_with_waitlist("a", "bcd")
        result = enrolled(state, Enroll("c", "c-1", override=SEAT, comment="by phone"))
        full = Violation(
            Reason.COURSE_FULL, 'The only seat is taken in "c-1".', {"capacity": "1", "enrolled_count": "1"}
        )
        bypassed: dict[str, Any] = {"bypassed_rules": ("COURSE_FULL",), "bypassed_violations": (full,)}
        assert result == enrollment("c", "ENROLLED", 3, version=2, update_time=NOW, **bypassed)
        assert state.journal.added_enrollments == {}
        assert event_summaries(state) == ["STUDENT_PROMOTED c"]
        (event,) = state.journal.events
        assert (event.previous_state, event.state, event.enrollment_version) == ("WAITLISTED", "ENROLLED", 2)
        assert (event.reason, event.comment, event.bypassed_rules) == ("athlete", "by phone", ("COURSE_FULL",))
        assert event.violations == (full,)
        assert (event.enrolled_count, event.waitlisted_count, event.capacity) == (2, 2, 1)
        assert (counts(state), waitlist(state)) == ((2, 2), "bd")

    @pytest.mark.parametrize("lenient", [{"allow_existing": True}, {"no_waitlist": True}, {}])
    def test_with_other_options(self, lenient: dict[str, Any]) -> None:
        """The options for existing enrollments and for waitlists do not prevent the promotion."""
        state = state_with_waitlist("a", "bc")
        assert enrolled(state, Enroll("c", "c-1", override=SEAT, **lenient)).state == "ENROLLED"

    def test_by_another_override(self) -> None:
        """An override of another rule leaves the waiter on the waitlist."""
        state = state_with_waitlist("a", "b", student_with_hold("b"))
        override = Override(frozenset({"STUDENT_HOLD"}), "paid")
        assert refusal(state, Enroll("b", "c-1", override=override)).reason is Reason.ALREADY_WAITLISTED
        assert enrolled(state, Enroll("b", "c-1", allow_existing=True, override=override)).bypassed_rules == ()

    def test_a_student_with_a_seat(self) -> None:
        """A student with a seat is already enrolled."""
        state = state_with_waitlist("a", "b")
        assert refusal(state, Enroll("a", "c-1", override=SEAT)).reason is Reason.ALREADY_ENROLLED
        assert enrolled(state, Enroll("a", "c-1", allow_existing=True, override=SEAT)).bypassed_rules == ()
        assert state.journal.events == []

    def test_refused_by_other_rules(self) -> None:
        """The other rules apply as for a newcomer, and a refusal changes nothing."""
        state = state_with_waitlist("a", "bc", student_with_hold("c", max_credits=0), credits=1_000)
        before = contents(state)
        refused = refusal(state, Enroll("c", "c-1", override=SEAT))
        assert [one.reason for one in refused.violations] == [Reason.STUDENT_HOLD, Reason.CREDIT_LIMIT_EXCEEDED]
        assert contents(state) == before

    def test_rules_bypassed_before(self) -> None:
        """Rules that were bypassed before stay bypassed, and are listed with COURSE_FULL."""
        state = state_with_waitlist("a", "bc", student_with_hold("c"))
        (waiter,) = [one for one in state.waiters("c-1") if one.student_id == "c"]
        waiter.bypassed_rules = ("STUDENT_HOLD",)
        result = enrolled(state, Enroll("c", "c-1", override=SEAT))
        assert result.bypassed_rules == ("STUDENT_HOLD", "COURSE_FULL")
        assert state.journal.events[0].reason == "athlete"

    def test_rules_bypassed_before_and_no_longer_violated(self) -> None:
        """Rules that were bypassed before stay listed when they are no longer violated."""
        state = state_with_waitlist("a", "bc")
        (waiter,) = [one for one in state.waiters("c-1") if one.student_id == "c"]
        waiter.bypassed_rules = ("STUDENT_HOLD",)
        assert enrolled(state, Enroll("c", "c-1", override=SEAT)).bypassed_rules == ("STUDENT_HOLD", "COURSE_FULL")

    def test_rules_bypassed_before_and_now(self) -> None:
        """Old and new overrides together must cover all violations; both are listed in the order of the reasons."""
        state = state_with_waitlist("a", "bc", student_with_hold("c", max_credits=0), credits=1_000)
        (waiter,) = [one for one in state.waiters("c-1") if one.student_id == "c"]
        waiter.bypassed_rules = ("CREDIT_LIMIT_EXCEEDED",)
        both = Override(frozenset({"COURSE_FULL", "STUDENT_HOLD"}), "athlete")
        result = enrolled(state, Enroll("c", "c-1", override=both))
        assert result.bypassed_rules == ("STUDENT_HOLD", "CREDIT_LIMIT_EXCEEDED", "COURSE_FULL")

    def test_outside_the_window(self) -> None:
        """Outside the window the override must name the window's rule too."""
        state = state_with_waitlist("a", "b", enroll_close_time=NOW)
        assert refusal(state, Enroll("b", "c-1", override=SEAT)).reason is Reason.ENROLLMENT_CLOSED
        both = Override(frozenset({"COURSE_FULL", "ENROLLMENT_CLOSED"}), "athlete")
        assert enrolled(state, Enroll("b", "c-1", override=both)).bypassed_rules == ("ENROLLMENT_CLOSED", "COURSE_FULL")

    def test_at_the_waiters_turn(self) -> None:
        """If there are seats for the waiter and all ahead, nothing is bypassed; the event has the comment alone."""
        state = state_with_waitlist("a", "bc", capacity=3)
        result = enrolled(state, Enroll("c", "c-1", override=SEAT, comment="by phone"))
        assert (result.state, result.bypassed_rules, result.version) == ("ENROLLED", (), 2)
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]
        assert [(event.reason, event.comment) for event in state.journal.events] == [("", ""), ("", "by phone")]
        assert (counts(state), waitlist(state)) == ((3, 0), "")

    def test_with_a_free_seat_for_the_first(self) -> None:
        """The first waiter gets the free seat, and the chosen waiter a seat over capacity."""
        state = state_with_waitlist("a", "bc", capacity=2)
        result = enrolled(state, Enroll("c", "c-1", override=SEAT))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("COURSE_FULL",))
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]
        assert [event.reason for event in state.journal.events] == ["", "athlete"]
        assert counts(state) == (3, 0)

    def test_with_a_free_seat_and_a_hold(self) -> None:
        """A seat within capacity bypasses only the hold, and the waiter is not skipped for it first."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2)
        both = Override(frozenset({"COURSE_FULL", "STUDENT_HOLD"}), "paid today")
        result = enrolled(state, Enroll("b", "c-1", override=both))
        assert (result.state, result.bypassed_rules) == ("ENROLLED", ("STUDENT_HOLD",))
        assert event_summaries(state) == ["STUDENT_PROMOTED b"]
        assert state.journal.events[0].reason == "paid today"


class TestPositions:
    """Positions are computed when they are needed."""

    def test_of_newcomers(self) -> None:
        """Each newcomer is last, whatever happened ahead in the same batch."""
        state = loaded_state(*students("abcxyz"), *course_with_students("a", "bc"))
        positions = [enrolled(state, Enroll("x", "c-1")).waitlist_position]
        decide(state, Unenroll("b", "c-1"))
        positions.append(enrolled(state, Enroll("y", "c-1")).waitlist_position)
        decide(state, Unenroll("a", "c-1"))
        positions.append(enrolled(state, Enroll("z", "c-1")).waitlist_position)
        assert positions == [3, 3, 3]
        assert waitlist(state) == "xyz"

    def test_moves_up(self) -> None:
        """A waiter moves up when others ahead leave or are promoted; version and update time stay."""
        state = state_with_waitlist("a", "bcdef")
        asked = Enroll("e", "c-1", allow_existing=True)
        positions = [enrolled(state, asked).waitlist_position]
        for command in (Unenroll("c", "c-1"), Unenroll("f", "c-1"), Unenroll("a", "c-1"), Enroll("z", "c-1")):
            decide(state, command)
            positions.append(enrolled(state, asked).waitlist_position)
        assert positions == [4, 3, 3, 2, 2]
        assert enrolled(state, asked) == enrollment("e", "WAITLISTED", 5, waitlist_position=2)

    def test_of_a_newcomer_of_the_same_batch(self) -> None:
        """Waiters who left before the newcomer came are not counted twice."""
        state = state_with_waitlist("a", "bcd")
        decide(state, Unenroll("b", "c-1"))
        decide(state, Enroll("z", "c-1"))
        decide(state, Unenroll("c", "c-1"))
        assert enrolled(state, Enroll("z", "c-1", allow_existing=True)).waitlist_position == 2

    def test_of_a_waiter_who_came_again(self) -> None:
        """The waiter is last, with the next attempt and number."""
        state = state_with_waitlist("a", "bc")
        left = decide(state, Unenroll("b", "c-1")).enrollment
        assert left.waitlist_position == 0
        result = enrolled(state, Enroll("b", "c-1"))
        assert (result.attempt, result.number, result.waitlist_position) == (2, 4, 2)
        assert waitlist(state) == "cb"

    def test_of_a_promoted_waiter(self) -> None:
        """A seat has no position."""
        state = state_with_waitlist("a", "b")
        assert decide(state, Unenroll("a", "c-1")).promoted[0].waitlist_position == 0

    def test_of_a_skipped_waiter(self) -> None:
        """A skipped waiter moves up only for waiters ahead."""
        state = state_with_waitlist("a", "bcd", student_with_hold("c"))
        decide(state, UpdateCourse("c-1", {"capacity": 3}))
        assert enrolled(state, Enroll("c", "c-1", allow_existing=True)).waitlist_position == 1
        decide(state, ReleaseHold("c", "BURSAR"))
        assert enrolled(state, Enroll("z", "c-1")).waitlist_position == 2
