"""All rules together: violations are reported at once and in order, and an override sets aside only those it names."""

from __future__ import annotations

from typing import Any

import pytest

from registrar_server.core.commands import Command, Enroll, Override, Swap
from registrar_server.core.records import Course, Hold, Student
from registrar_server.core.state import State
from registrar_server.core.vocabulary import StudentState
from registrar_server.errors import OVERRIDABLE, Reason
from tests.support.states import MONDAY, NOW, contents, enrolled, enrollment, loaded_state, refusal

HOLDS = (Hold("BURSAR", "Unpaid fees.", 1), Hold("LIBRARY", "", 2))
EVERYTHING = Override(frozenset(OVERRIDABLE), "approved by the dean")

#: The violations of Ada: the reason, the rule that an override must name, and the values.
VIOLATIONS: list[tuple[Reason, str, dict[str, str]]] = [
    (Reason.STUDENT_INACTIVE, "", {"state": "INACTIVE"}),
    (Reason.STUDENT_HOLD, "STUDENT_HOLD", {"code": "BURSAR", "reason": "Unpaid fees."}),
    (Reason.STUDENT_HOLD, "STUDENT_HOLD", {"code": "LIBRARY", "reason": ""}),
    (Reason.COURSE_CANCELLED, "", {"state": "CANCELLED"}),
    (
        Reason.ENROLLMENT_CLOSED,
        "ENROLLMENT_CLOSED",
        {"enroll_close_time": "2026-11-23T16:00:00Z", "now": "2026-11-23T16:00:00.123456Z"},
    ),
    (
        Reason.DUPLICATE_COURSE,
        "DUPLICATE_COURSE",
        {"duplicate_course_id": "c-3", "code": "CS", "term": "", "component": ""},
    ),
    (Reason.PREREQUISITE_UNMET, "PREREQUISITE_UNMET", {"missing_course_ids": "math-1"}),
    *(
        (
            Reason.SCHEDULE_CONFLICT,
            "SCHEDULE_CONFLICT",
            {"conflicting_course_id": course_id, "weekdays": "MONDAY", "time": "09:00-10:00", "dates": "../.."},
        )
        for course_id in ("c-2", "c-3")
    ),
    (
        Reason.CREDIT_LIMIT_EXCEEDED,
        "CREDIT_LIMIT_EXCEEDED",
        {"term": "", "enrolled_credits": "6", "course_credits": "3", "max_credits": "6"},
    ),
    (
        Reason.WAITLIST_FULL,
        "COURSE_FULL",
        {"capacity": "1", "enrolled_count": "1", "waitlist_capacity": "1", "waitlisted_count": "1"},
    ),
]
DESCRIPTIONS = [
    'Student "ada" is not active.',
    'There is a hold "BURSAR" on student "ada": Unpaid fees.',
    'There is a hold "LIBRARY" on student "ada".',
    '"c-1" is cancelled.',
    'Enrollment in "c-1" closed at 2026-11-23T16:00:00Z.',
    '"c-1" is CS in the same term as "c-3", in which student "ada" has a seat.',
    '"c-1" asks for courses to have been passed before: math-1 (MATH).',
    '"c-1" meets at the same time as "c-2": Monday 09:00-10:00.',
    '"c-1" meets at the same time as "c-3": Monday 09:00-10:00.',
    'With the 3 credits of "c-1", student "ada" would take 9 credits in the term; the most allowed is 6.',
    'The only seat is taken in "c-1", and its waitlist is full.',
]


def violating_state(*, student_state: str = "INACTIVE", course_state: str = "CANCELLED") -> State:
    """Return a state in which Ada violates every rule of c-1 that can be violated at once."""
    wanted: dict[str, Any] = {
        **{"capacity": 1, "enrolled_count": 1, "waitlist_capacity": 1, "waitlisted_count": 1, "last_number": 2},
        **{"enroll_close_time": NOW - NOW % 1_000_000, "prerequisite_course_ids": ("math-1",), "state": course_state},
    }
    content: dict[str, Any] = {"credits": 3_000, "meetings": MONDAY}
    return loaded_state(
        Student("ada", state=StudentState(student_state), max_credits=6_000, holds=HOLDS),
        Student("bob"),
        Student("eve"),
        Course("c-1", code="CS", **wanted, **content),
        Course("c-2", **content, enrolled_count=1, last_number=1, drop_deadline_time=NOW),
        Course("c-3", code="CS", **content, enrolled_count=1, last_number=1),
        Course("math-1", code="MATH"),
        enrollment("bob", "ENROLLED"),
        enrollment("eve", "WAITLISTED", 2),
        enrollment("ada", "ENROLLED", course_id="c-2"),
        enrollment("ada", "ENROLLED", course_id="c-3"),
    )


def test_all_at_once() -> None:
    """All violations are reported in the order of the rules; the first gives the reason, all give the message."""
    refused = refusal(violating_state(), Enroll("ada", "c-1"))
    assert [(one.reason, one.override_rule, dict(one.values)) for one in refused.violations] == VIOLATIONS
    assert [one.description for one in refused.violations] == DESCRIPTIONS
    assert (refused.reason, refused.status) == (Reason.STUDENT_INACTIVE, "FAILED_PRECONDITION")
    assert refused.message == " ".join(DESCRIPTIONS)
    assert refused.metadata == {"student_id": "ada", "course_id": "c-1"}


def test_the_order_is_that_of_the_reasons() -> None:
    """Violations are in the order in which the reasons are numbered."""
    order = list(Reason)
    found = [one.reason for one in refusal(violating_state(), Enroll("ada", "c-1")).violations]
    assert found == sorted(found, key=order.index)


def test_a_swap_checks_the_deadline_last() -> None:
    """Meetings and credits of the seat that is given up do not count, and its drop deadline is checked last."""
    refused = refusal(violating_state(), Swap("ada", "c-2", "c-1"))
    reasons = [one.reason for one in refused.violations]
    assert reasons == [
        Reason.STUDENT_INACTIVE,
        Reason.STUDENT_HOLD,
        Reason.STUDENT_HOLD,
        Reason.COURSE_CANCELLED,
        Reason.ENROLLMENT_CLOSED,
        Reason.DUPLICATE_COURSE,
        Reason.PREREQUISITE_UNMET,
        Reason.SCHEDULE_CONFLICT,
        Reason.COURSE_FULL,
        Reason.DROP_DEADLINE_PASSED,
    ]
    assert refused.violations[7].values["conflicting_course_id"] == "c-3"


@pytest.mark.parametrize("command", [Enroll("ada", "c-1"), Swap("ada", "c-2", "c-1")])
@pytest.mark.parametrize("override", [Override(), EVERYTHING])
def test_a_refused_command_changes_nothing(command: Enroll | Swap, override: Override) -> None:
    """After a refusal the state and its journal are as before."""
    state = violating_state()
    before = contents(state)
    refusal(state, with_override(command, override))
    assert contents(state) == before


def with_override(command: Enroll | Swap, override: Override) -> Command:
    if isinstance(command, Enroll):
        return Enroll(command.student_id, command.course_id, override=override)
    return Swap(command.student_id, command.from_course_id, command.to_course_id, override=override)


class TestOverride:
    """An override sets aside the rules it names, and the enrollment keeps those that would have refused it."""

    def test_rules_without_an_override(self) -> None:
        """No override admits an inactive student or opens a cancelled course, and only these two are reported."""
        refused = refusal(violating_state(), Enroll("ada", "c-1", override=EVERYTHING))
        assert [one.reason for one in refused.violations] == [Reason.STUDENT_INACTIVE, Reason.COURSE_CANCELLED]

    @pytest.mark.parametrize("named", sorted(OVERRIDABLE - {Reason.ENROLLMENT_NOT_OPEN, Reason.DROP_DEADLINE_PASSED}))
    def test_one_rule(self, named: str) -> None:
        """All other rules refuse as before."""
        refused = refusal(violating_state(), Enroll("ada", "c-1", override=Override(frozenset({named}), "because")))
        assert [one.reason for one in refused.violations] == [
            reason for reason, override_rule, _ in VIOLATIONS if override_rule != named and reason != named
        ]

    def test_all_rules(self) -> None:
        """The enrollment and the event have each bypassed rule once, in the order of the reasons."""
        state = violating_state(student_state="ACTIVE", course_state="OPEN")
        result = enrolled(state, Enroll("ada", "c-1", override=EVERYTHING))
        kept = (
            "STUDENT_HOLD",
            "ENROLLMENT_CLOSED",
            "DUPLICATE_COURSE",
            "PREREQUISITE_UNMET",
            "SCHEDULE_CONFLICT",
            "CREDIT_LIMIT_EXCEEDED",
            "COURSE_FULL",
        )
        assert (result.state, result.bypassed_rules) == ("ENROLLED", kept)
        (event,) = state.journal.events
        assert (event.type, event.reason) == ("STUDENT_ENROLLED", "approved by the dean")
        assert event.bypassed_rules == kept

    def test_only_needed_rules(self) -> None:
        """Of the named rules, only those that would have refused are kept."""
        state = loaded_state(Student("ada", holds=HOLDS), Course("c-1"))
        assert enrolled(state, Enroll("ada", "c-1", override=EVERYTHING)).bypassed_rules == ("STUDENT_HOLD",)

    def test_before_the_window(self) -> None:
        """The two ends of the window are separate rules."""
        state = loaded_state(Student("ada"), Course("c-1", enroll_open_time=NOW + 1))
        closed = Override(frozenset({"ENROLLMENT_CLOSED"}), "late")
        assert refusal(state, Enroll("ada", "c-1", override=closed)).reason is Reason.ENROLLMENT_NOT_OPEN
        early = Override(frozenset({"ENROLLMENT_NOT_OPEN"}), "early")
        assert enrolled(state, Enroll("ada", "c-1", override=early)).bypassed_rules == ("ENROLLMENT_NOT_OPEN",)

    def test_on_the_waitlist(self) -> None:
        """A waiter's enrollment keeps the rules that were set aside."""
        state = loaded_state(Student("ada", holds=HOLDS), Course("c-1", capacity=0, waitlist_capacity=1))
        override = Override(frozenset({"STUDENT_HOLD"}), "it is being paid")
        result = enrolled(state, Enroll("ada", "c-1", override=override))
        assert (result.state, result.bypassed_rules) == ("WAITLISTED", ("STUDENT_HOLD",))
        (event,) = state.journal.events
        assert (event.type, event.reason) == ("STUDENT_WAITLISTED", "it is being paid")
