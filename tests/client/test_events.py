"""Events are read from their messages and listed by page."""

from __future__ import annotations

import pytest

from registrar.v1 import enrollment_pb2, error_reason_pb2, event_pb2
from registrar.v1 import history_service_pb2 as pb
from registrar_client import (
    Enrollment,
    EnrollmentState,
    ErrorReason,
    Event,
    EventType,
    FieldChange,
    Violation,
)
from registrar_client._from_wire import read
from tests.support.client_fakes import Driver
from tests.support.client_samples import NOON, NOON_HERE

SKIPPED = event_pb2.Event(
    revision=2**40,
    event_id="ev-1",
    type=event_pb2.EVENT_TYPE_PROMOTION_SKIPPED,
    time=NOON,
    actor="registrar@example.edu",
    student_id="s-1",
    course_id="CS-101",
    enrollment=enrollment_pb2.Enrollment(enrollment_id="e-1", state=enrollment_pb2.ENROLLMENT_STATE_WAITLISTED),
    previous_state=enrollment_pb2.ENROLLMENT_STATE_WAITLISTED,
    reason="approved by the dean",
    comment="by telephone",
    bypassed_rules=[error_reason_pb2.ERROR_REASON_PREREQUISITE_UNMET],
    violations=[
        error_reason_pb2.RuleViolation(
            reason=error_reason_pb2.ERROR_REASON_STUDENT_HOLD,
            description="There is a hold.",
            values={"reason": "Unpaid fees.", "code": "BURSAR"},
            overridable=True,
            override_rule=error_reason_pb2.ERROR_REASON_STUDENT_HOLD,
        )
    ],
    changes=[event_pb2.FieldChange(field="grade", before="B", after="A")],
    request_id="r-1",
    on_behalf_of="dean@example.edu",
)


def test_all_fields_of_an_event_are_read() -> None:
    assert read(Event, SKIPPED) == Event(
        revision=2**40,
        event_id="ev-1",
        type=EventType.PROMOTION_SKIPPED,
        time=NOON_HERE,
        actor="registrar@example.edu",
        student_id="s-1",
        course_id="CS-101",
        enrollment=Enrollment(
            enrollment_id="e-1", student_id="", course_id="", state=EnrollmentState.WAITLISTED, attempt=0
        ),
        previous_state=EnrollmentState.WAITLISTED,
        reason="approved by the dean",
        comment="by telephone",
        bypassed_rules=(ErrorReason.PREREQUISITE_UNMET,),
        violations=(
            Violation(
                reason=ErrorReason.STUDENT_HOLD,
                description="There is a hold.",
                values={"code": "BURSAR", "reason": "Unpaid fees."},
                overridable=True,
                override_rule=ErrorReason.STUDENT_HOLD,
            ),
        ),
        changes=(FieldChange(field="grade", before="B", after="A"),),
        request_id="r-1",
        on_behalf_of="dean@example.edu",
    )


def test_an_event_without_an_enrollment_has_none() -> None:
    event = read(Event, event_pb2.Event(type=event_pb2.EVENT_TYPE_COURSE_CREATED))
    assert (event.enrollment, event.previous_state) == (None, None)
    assert (event.bypassed_rules, event.violations, event.changes) == ((), (), ())


@pytest.mark.parametrize(("before", "after"), [(None, "30"), ("30", None), ("", "A"), ("A", "")])
def test_a_change_distinguishes_no_value_from_an_empty_value(before: str | None, after: str | None) -> None:
    message = event_pb2.Event(changes=[event_pb2.FieldChange(field="grade", before=before, after=after)])
    assert read(Event, message).changes == (FieldChange(field="grade", before=before, after=after),)


def test_values_of_a_newer_server_are_unknown() -> None:
    new = error_reason_pb2.RuleViolation(reason=77, override_rule=77)  # type: ignore[arg-type]
    event = read(Event, event_pb2.Event(type=77, previous_state=77, violations=[new]))  # type: ignore[arg-type]
    assert event.type is EventType.UNKNOWN
    assert event.previous_state is EnrollmentState.UNKNOWN
    assert event.violations == (Violation(reason=ErrorReason.UNKNOWN, override_rule=ErrorReason.UNKNOWN),)


def test_a_rule_that_cannot_be_overridden_has_no_override_rule() -> None:
    cancelled = error_reason_pb2.RuleViolation(reason=error_reason_pb2.ERROR_REASON_COURSE_CANCELLED)
    assert read(Violation, cancelled) == Violation(reason=ErrorReason.COURSE_CANCELLED, override_rule=None)


def test_events_are_hashable() -> None:
    assert len({read(Event, SKIPPED), read(Event, SKIPPED)}) == 1


def test_the_history_is_listed_page_by_page(driver: Driver) -> None:
    created = event_pb2.Event(revision=8, event_id="ev-8", type=event_pb2.EVENT_TYPE_STUDENT_CREATED, time=NOON)
    driver.script.answers.append(pb.ListEventsResponse(events=[created], next_page_token="after-8"))
    driver.script.answers.append(pb.ListEventsResponse(events=[SKIPPED]))
    listed = driver.call("history.list", after_revision=7, page_size=1)
    assert listed == [read(Event, created), read(Event, SKIPPED)]
    assert driver.script.requests == [
        pb.ListEventsRequest(after_revision=7, page_size=1),
        pb.ListEventsRequest(after_revision=7, page_size=1, page_token="after-8"),
    ]
