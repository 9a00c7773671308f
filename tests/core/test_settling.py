"""Settling on demand and after updates, by example."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import (
    SETTLING,
    Enroll,
    RecordCompletion,
    ReleaseHold,
    Settle,
    UpdateCourse,
)
from registrar_server.core.decide import decide
from registrar_server.core.records import SETTABLE, Course, Student
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


class TestSettle:
    """Settle gives the free seats of a course to its waiters."""

    def test_promotes_in_order(self) -> None:
        """As many waiters are promoted as seats are free, and the result has them in the order of the queue."""
        state = state_with_waitlist("a", "bcd", capacity=3)
        assert letters(decide(state, Settle("c-1"))) == "bc"
        assert event_summaries(state) == ["STUDENT_PROMOTED b", "STUDENT_PROMOTED c"]
        assert (counts(state), waitlist(state)) == ((3, 1), "d")

    def test_finds_a_seat_after_a_release(self) -> None:
        """A waiter whose hold is released gets the seat that has been free for some time."""
        state = state_with_waitlist("a", "b", student_with_hold("b"), capacity=2)
        assert letters(decide(state, Settle("c-1"))) == ""
        decide(state, ReleaseHold("b", "BURSAR"))
        assert letters(decide(state, Settle("c-1"))) == "b"
        assert event_summaries(state) == ["PROMOTION_SKIPPED b", "HOLD_RELEASED", "STUDENT_PROMOTED b"]

    def test_has_the_actor_of_its_caller(self) -> None:
        """The events name the caller, and have neither a reason nor a comment."""
        state = state_with_waitlist("a", "b", capacity=2)
        state.journal.actor = "system:sweep"
        decide(state, Settle("c-1", reserve_completed=True))
        (event,) = state.journal.events
        assert (event.actor, event.reason, event.comment, event.violations) == ("system:sweep", "", "", ())

    @pytest.mark.parametrize("reserve_completed", [False, True])
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"capacity": 0},
            {"capacity": 2, "enroll_open_time": NOW + 1},
            {"capacity": 2, "enroll_close_time": NOW},
            {"capacity": 2, "state": "CANCELLED"},
        ],
        ids=["full", "over-capacity", "before-the-window", "after-the-window", "cancelled"],
    )
    def test_changes_nothing(self, fields: dict[str, Any], reserve_completed: bool) -> None:
        """Without a free seat, outside the window and in a cancelled course nobody is promoted or skipped."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), **fields)
        before = contents(state)
        assert decide(state, Settle("c-1", reserve_completed)) == ()
        assert contents(state) == before

    def test_again(self) -> None:
        """Settling again changes nothing: everybody left is skipped for the reasons that the history has."""
        state = state_with_waitlist("a", "bc", student_with_hold("b"), capacity=3)
        decide(state, Settle("c-1"))
        before = contents(state)
        assert decide(state, Settle("c-1")) == ()
        assert contents(state) == before

    @pytest.mark.parametrize("courses", [[], [Course("c-1", delete_time=EARLIER)]])
    def test_unknown(self, courses: list[Course]) -> None:
        """The course must exist and not be deleted."""
        assert refusal(loaded_state(*courses), Settle("c-1")).reason is Reason.COURSE_NOT_FOUND


OBSTACLES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "capacity": ({"capacity": 1}, {"capacity": 2}),
    "enroll_open_time": ({"enroll_open_time": NOW + 1}, {"enroll_open_time": NOW}),
    "enroll_close_time": ({"enroll_close_time": NOW}, {"enroll_close_time": NOW + 1}),
    "state": ({"state": "CANCELLED"}, {"state": "OPEN"}),
    "meetings": ({"meetings": MONDAY}, {"meetings": ()}),
    "prerequisite_course_ids": ({"prerequisite_course_ids": ("c-2",)}, {"prerequisite_course_ids": ()}),
    "credits": ({"credits": 2_001}, {"credits": 2_000}),
    "term": ({"credits": 3_000, "term": "fall"}, {"term": "spring"}),
    "code": ({"code": "MATH 1", "term": "fall"}, {"code": "MATH 2"}),
    "component": ({"code": "MATH 1", "term": "fall", "component": "LEC"}, {"component": "LAB"}),
}
"""For each settling field: what keeps student b, who has a seat in c-2, from c-1, and the update that changes it."""


class TestUpdateCourse:
    """A change that the promotion of waiters depends on settles the course in its transaction."""

    def test_the_fields(self) -> None:
        """Capacity, window, state, and all that the rules read settle a course; other fields do not."""
        assert set(OBSTACLES) == SETTLING
        assert set(SETTABLE[Course]) - SETTLING == {"title", "description", "waitlist_capacity", "drop_deadline_time"}

    @pytest.mark.parametrize("field", OBSTACLES)
    def test_promotes_who_can_have_the_seat_now(self, field: str) -> None:
        """The answer has the waiter whom only this field kept from a free seat."""
        obstacle, update = OBSTACLES[field]
        elsewhere: dict[str, Any] = {"credits": 1_000, "term": "fall", "code": "MATH 1", "meetings": MONDAY}
        if "code" in obstacle:
            elsewhere["component"] = obstacle.get("component", "")
        fields: dict[str, Any] = {"capacity": 2, "term": "fall"} | obstacle
        state = loaded_state(
            *students("ac"),
            Student("b", max_credits=3_000),
            *course_with_students("a", "b", **fields),
            *course_with_students("b", "", "c-2", **elsewhere),
        )
        assert decide(state, Settle("c-1")) == ()
        assert letters(decide(state, UpdateCourse("c-1", update)).promoted) == "b"
        assert event_summaries(state)[-2:] == ["COURSE_UPDATED", "STUDENT_PROMOTED b"]

    @pytest.mark.parametrize("field", sorted(SETTLING - {"enroll_open_time", "enroll_close_time", "state"}))
    def test_any_change_settles(self, field: str) -> None:
        """A free seat is found even if the change as such helps nobody."""
        harmless: dict[str, Any] = {
            "capacity": 2,
            "meetings": MONDAY,
            "prerequisite_course_ids": ("c-2",),
            "credits": 1_000,
        }
        state = state_with_waitlist("a", "b", capacity=3)
        state.load(courses=[Course("c-2")])
        decide(state, RecordCompletion("b", "c-2"))
        assert letters(decide(state, UpdateCourse("c-1", {field: harmless.get(field, "x")})).promoted) == "b"

    @pytest.mark.parametrize(
        "values",
        [
            {"title": "Intro"},
            {"description": "About it."},
            {"waitlist_capacity": 100},
            {"drop_deadline_time": NOW},
            {"capacity": 2, "credits": 0, "state": "OPEN", "code": ""},
            {"title": "Intro", "capacity": 2},
            {},
        ],
    )
    def test_other_updates_settle_nothing(self, values: dict[str, Any]) -> None:
        """Other fields, and settling fields that keep their values, leave the free seat to the sweep."""
        state = state_with_waitlist("a", "b", capacity=2)
        updated = decide(state, UpdateCourse("c-1", values))
        assert (updated.promoted, waitlist(state)) == ((), "b")
        assert letters(decide(state, Settle("c-1", reserve_completed=True))) == "b"

    def test_skips_who_cannot_have_the_seat_any_more(self) -> None:
        """The skip has the rule that the update has made the waiter violate."""
        state = state_with_waitlist("a", "b", Student("b", max_credits=3_000), capacity=2)
        assert decide(state, UpdateCourse("c-1", {"credits": 4_000})).promoted == ()
        (skip,) = [event for event in state.journal.events if event.type == "PROMOTION_SKIPPED"]
        assert [one.reason for one in skip.violations] == [Reason.CREDIT_LIMIT_EXCEEDED]

    def test_a_cancellation_promotes_nobody(self) -> None:
        """The course settles after all values are set, and a cancelled course promotes nobody."""
        state = state_with_waitlist("a", "b")
        assert decide(state, UpdateCourse("c-1", {"capacity": 9, "state": "CANCELLED"})).promoted == ()
        assert event_summaries(state) == ["COURSE_UPDATED"]

    def test_a_refused_update_promotes_nobody(self) -> None:
        """A stale etag leaves everything as it is."""
        state = state_with_waitlist("a", "b")
        before = contents(state)
        assert refusal(state, UpdateCourse("c-1", {"capacity": 9}, etag="c-1/7")).reason is Reason.ETAG_MISMATCH
        assert contents(state) == before

    def test_a_newcomer_of_the_same_batch(self) -> None:
        """The waiters have had their turn before the next command asks for a seat."""
        state = state_with_waitlist("a", "b", enroll_close_time=NOW, capacity=2)
        decide(state, UpdateCourse("c-1", {"enroll_close_time": None}))
        assert enrolled(state, Enroll("z", "c-1")).state == "WAITLISTED"
