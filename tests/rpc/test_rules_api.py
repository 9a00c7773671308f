"""Refusals over gRPC: the details of each rule, the overrides that set it aside, and invalid fields."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.dayofweek_pb2 import MONDAY, WEDNESDAY
from google.type.timeofday_pb2 import TimeOfDay
from grpc import StatusCode

from registrar.v1.course_pb2 import COURSE_STATE_CANCELLED, Meeting
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_DROPPED as DROPPED
from registrar.v1.enrollment_pb2 import ENROLLMENT_STATE_ENROLLED as ENROLLED
from registrar.v1.enrollment_pb2 import Enrollment, Override
from registrar.v1.enrollment_service_pb2 import (
    CompleteEnrollmentRequest,
    EnrollStudentRequest,
    RecordCompletionRequest,
    SwapEnrollmentRequest,
    UnenrollRequest,
)
from registrar.v1.error_reason_pb2 import ERROR_REASON_STUDENT_INACTIVE, ErrorReason, RuleViolation, RuleViolations
from registrar.v1.event_pb2 import Event
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar.v1.student_pb2 import STUDENT_STATE_INACTIVE
from registrar.v1.student_service_pb2 import PlaceHoldRequest, ReleaseHoldRequest
from tests.support.refusals import Failure, info, precondition, refused
from tests.support.servers import Registrar

ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
UUID_RULE = 'must be a UUID, such as 0b0e3a5e-53a8-4b7c-9d0f-3f8a3f0f6c11, and not "1"'
LONG_AGO, FAR_AWAY = Timestamp(seconds=946_684_800), Timestamp(seconds=4_102_444_800)
NOTHING: Mapping[str, Any] = MappingProxyType({})
NINE_TO_TEN: dict[str, Any] = {"start_time": TimeOfDay(hours=9), "end_time": TimeOfDay(hours=10)}
NINE_THIRTY_ON: dict[str, Any] = {"start_time": TimeOfDay(hours=9, minutes=30), "end_time": TimeOfDay(hours=24)}


class Obstacle(NamedTuple):
    """A situation in which a rule refuses s-1 a seat in CS-101, and its violation without the current time."""

    sentence: str
    values: dict[str, str]
    override_rule: str
    student: Mapping[str, Any] = NOTHING
    course: Mapping[str, Any] = NOTHING
    before: Sequence[Message] = ()


def seat(student_id: str, course_id: str) -> EnrollStudentRequest:
    return EnrollStudentRequest(student_id=student_id, course_id=course_id)


OBSTACLES = {
    "STUDENT_INACTIVE": Obstacle(
        'Student "s-1" is not active.', {"state": "INACTIVE"}, "", student={"state": STUDENT_STATE_INACTIVE}
    ),
    "STUDENT_HOLD": Obstacle(
        'There is a hold "BURSAR" on student "s-1": Unpaid fees.',
        {"code": "BURSAR", "reason": "Unpaid fees."},
        "STUDENT_HOLD",
        before=[PlaceHoldRequest(student_id="s-1", code="BURSAR", reason="Unpaid fees.")],
    ),
    "COURSE_CANCELLED": Obstacle(
        '"CS-101" is cancelled.', {"state": "CANCELLED"}, "", course={"state": COURSE_STATE_CANCELLED}
    ),
    "ENROLLMENT_NOT_OPEN": Obstacle(
        'Enrollment in "CS-101" opens at 2100-01-01T00:00:00Z.',
        {"enroll_open_time": "2100-01-01T00:00:00Z"},
        "ENROLLMENT_NOT_OPEN",
        course={"enroll_open_time": FAR_AWAY},
    ),
    "ENROLLMENT_CLOSED": Obstacle(
        'Enrollment in "CS-101" closed at 2000-01-01T00:00:00Z.',
        {"enroll_close_time": "2000-01-01T00:00:00Z"},
        "ENROLLMENT_CLOSED",
        course={"enroll_close_time": LONG_AGO},
    ),
    "PREREQUISITE_UNMET": Obstacle(
        '"CS-101" asks for courses to have been passed before: MATH-9, PHYS-10 (PHYS).',
        {"missing_course_ids": "MATH-9, PHYS-10"},
        "PREREQUISITE_UNMET",
        course={"prerequisite_course_ids": ["MATH-9", "PHYS-10"]},
        before=[RecordCompletionRequest(student_id="s-1", course_id="PHYS-10", passed=False)],
    ),
    "SCHEDULE_CONFLICT": Obstacle(
        '"CS-101" meets at the same time as "PHYS-10": Monday 09:30-10:00.',
        {"conflicting_course_id": "PHYS-10", "weekdays": "MONDAY", "time": "09:30-10:00", "dates": "../.."},
        "SCHEDULE_CONFLICT",
        course={"meetings": [Meeting(weekdays=[MONDAY], **NINE_THIRTY_ON)]},
        before=[seat("s-1", "PHYS-10")],
    ),
    "CREDIT_LIMIT_EXCEEDED": Obstacle(
        'With the 3.001 credits of "CS-101", student "s-1" would take 4.501 credits in the term;'
        " the most allowed is 4.5.",
        {"term": "fall", "enrolled_credits": "1.5", "course_credits": "3.001", "max_credits": "4.5"},
        "CREDIT_LIMIT_EXCEEDED",
        student={"max_credits": "4.500"},
        course={"credits": "3.001", "term": "fall"},
        before=[seat("s-1", "PHYS-10")],
    ),
    "COURSE_FULL": Obstacle(
        'The only seat is taken in "CS-101".',
        {"capacity": "1", "enrolled_count": "1"},
        "COURSE_FULL",
        course={"capacity": 1},
        before=[seat("s-2", "CS-101")],
    ),
    "WAITLIST_FULL": Obstacle(
        'The only seat is taken in "CS-101", and its waitlist is full.',
        {"capacity": "1", "enrolled_count": "1", "waitlist_capacity": "1", "waitlisted_count": "1"},
        "COURSE_FULL",
        course={"capacity": 1, "waitlist_capacity": 1},
        before=[seat("s-2", "CS-101"), seat("s-3", "CS-101")],
    ),
}
OVERRIDABLE = sorted({obstacle.override_rule for obstacle in OBSTACLES.values()} - {""})


async def prepare(registrar: Registrar, obstacle: Obstacle) -> None:
    """Create s-1 and CS-101 as the obstacle requires, other students and PHYS-10."""
    await registrar.add_student("s-1", **obstacle.student)
    await registrar.add_student("s-2")
    await registrar.add_student("s-3")
    meeting = Meeting(weekdays=[MONDAY, WEDNESDAY], **NINE_TO_TEN)
    await registrar.add_course("PHYS-10", code="PHYS", credits="1.5", term="fall", meetings=[meeting])
    await registrar.add_course("CS-101", **obstacle.course)
    for request in obstacle.before:
        name = request.DESCRIPTOR.name.removesuffix("Request")
        await next(getattr(stub, name) for stub in registrar[1:] if hasattr(stub, name))(request)


def number(reason: str) -> ErrorReason.ValueType:
    return ErrorReason.Value(f"ERROR_REASON_{reason or 'UNSPECIFIED'}")


def violation(reason: str, obstacle: Obstacle, failure: Failure) -> RuleViolation:
    """Return the expected violation, and check its current time if it has one."""
    values = dict(obstacle.values)
    if now := failure.the(RuleViolations).violations[0].values.get("now"):
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(now)
        assert abs(age) < dt.timedelta(minutes=1)
        values["now"] = now
    return RuleViolation(
        reason=number(reason),
        description=obstacle.sentence,
        values=values,
        overridable=bool(obstacle.override_rule),
        override_rule=number(obstacle.override_rule),
    )


def override(*rules: str) -> Override:
    return Override(rules=map(number, rules), reason="approved by the dean")


async def last_event(registrar: Registrar, course_id: str) -> Event:
    answer = await registrar.history.ListEvents(ListEventsRequest(course_id=course_id))
    return answer.events[-1]


@pytest.mark.parametrize("reason", OBSTACLES)
class TestEachRule:
    """Every rule that can refuse a seat to a student."""

    async def test_refuses(self, registrar: Registrar, reason: str) -> None:
        """A refusal has the status, the reason, a sentence and the violation, and changes nothing."""
        obstacle = OBSTACLES[reason]
        await prepare(registrar, obstacle)
        before = await registrar.course("CS-101")
        failure = await refused(registrar.enroll("s-1", "CS-101"))
        assert failure == Failure(
            StatusCode.FAILED_PRECONDITION,
            obstacle.sentence,
            (
                info(reason, student_id="s-1", course_id="CS-101"),
                precondition(reason, "s-1/CS-101", obstacle.sentence),
                RuleViolations(violations=[violation(reason, obstacle, failure)]),
            ),
        )
        assert await registrar.course("CS-101") == before

    async def test_preview(self, registrar: Registrar, reason: str) -> None:
        """validate_only is refused for the same reason."""
        await prepare(registrar, OBSTACLES[reason])
        failure = await refused(registrar.enroll("s-1", "CS-101", validate_only=True))
        assert (failure.reason, failure.message) == (reason, OBSTACLES[reason].sentence)

    async def test_override(self, registrar: Registrar, reason: str) -> None:
        """Only an override of override_rule sets the rule aside, and it is recorded."""
        obstacle = OBSTACLES[reason]
        await prepare(registrar, obstacle)
        if not obstacle.override_rule:
            failure = await refused(registrar.enroll("s-1", "CS-101", override=override(*OVERRIDABLE)))
            assert failure.reason == reason
            return
        others = override(*(rule for rule in OVERRIDABLE if rule != obstacle.override_rule))
        assert (await refused(registrar.enroll("s-1", "CS-101", override=others))).reason == reason
        made = await registrar.enroll("s-1", "CS-101", override=override(obstacle.override_rule))
        assert (made.state, list(made.bypassed_rules)) == (ENROLLED, [number(obstacle.override_rule)])
        event = await last_event(registrar, "CS-101")
        assert (event.enrollment, event.reason) == (made, "approved by the dean")
        assert list(event.bypassed_rules) == list(made.bypassed_rules)


class TestDropDeadline:
    """The rule about dropping a seat."""

    SENTENCE = 'Seats in "CS-101" could be given up until 2000-01-01T00:00:00Z.'
    OBSTACLE = Obstacle(
        SENTENCE,
        {"drop_deadline_time": "2000-01-01T00:00:00Z"},
        "DROP_DEADLINE_PASSED",
        course={"drop_deadline_time": LONG_AGO},
        before=[seat("s-1", "CS-101")],
    )

    def details(self, failure: Failure, subject: str, **ids: str) -> tuple[Message, ...]:
        reason = "DROP_DEADLINE_PASSED"
        return (
            info(reason, **ids),
            precondition(reason, subject, self.SENTENCE),
            RuleViolations(violations=[violation(reason, self.OBSTACLE, failure)]),
        )

    async def test_unenroll(self, registrar: Registrar) -> None:
        """Unenroll is refused with all details, and an override is recorded in the dropped enrollment."""
        await prepare(registrar, self.OBSTACLE)
        request = UnenrollRequest(student_id="s-1", course_id="CS-101", reason="too hard")
        failure = await refused(registrar.enrollments.Unenroll(request))
        assert (failure.code, failure.message) == (StatusCode.FAILED_PRECONDITION, self.SENTENCE)
        assert failure.details == self.details(failure, "s-1/CS-101", student_id="s-1", course_id="CS-101")

        request.override.CopyFrom(override("DROP_DEADLINE_PASSED"))
        dropped = (await registrar.enrollments.Unenroll(request)).enrollment
        self.assert_dropped(dropped, "too hard")
        event = await last_event(registrar, "CS-101")
        assert (event.enrollment, event.reason) == (dropped, "approved by the dean")

    async def test_swap(self, registrar: Registrar) -> None:
        """SwapEnrollment is refused with all three ids, and an override is recorded in the dropped enrollment."""
        await prepare(registrar, self.OBSTACLE)
        request = SwapEnrollmentRequest(student_id="s-1", from_course_id="CS-101", to_course_id="PHYS-10")
        failure = await refused(registrar.enrollments.SwapEnrollment(request))
        assert (failure.code, failure.message) == (StatusCode.FAILED_PRECONDITION, self.SENTENCE)
        ids = {"student_id": "s-1", "course_id": "PHYS-10", "from_course_id": "CS-101"}
        assert failure.details[0] == info("DROP_DEADLINE_PASSED", **ids)

        request.override.CopyFrom(override("DROP_DEADLINE_PASSED"))
        answer = await registrar.enrollments.SwapEnrollment(request)
        self.assert_dropped(answer.dropped, "SWAPPED")
        assert not answer.enrollment.bypassed_rules

    def assert_dropped(self, dropped: Enrollment, reason: str) -> None:
        assert (dropped.state, dropped.reason) == (DROPPED, reason)
        assert list(dropped.bypassed_rules) == [number("DROP_DEADLINE_PASSED")]


class TestSeveralRules:
    """Several rules refuse at once."""

    OBSTACLE = Obstacle(
        "",
        {},
        "",
        student={"max_credits": "2"},
        course={"capacity": 0, "credits": "3", "enroll_close_time": LONG_AGO},
        before=[
            PlaceHoldRequest(student_id="s-1", code="BURSAR"),
            PlaceHoldRequest(student_id="s-1", code="LIBRARY", reason="A book"),
        ],
    )
    VIOLATED = (
        "STUDENT_HOLD",
        "STUDENT_HOLD",
        "ENROLLMENT_CLOSED",
        "CREDIT_LIMIT_EXCEEDED",
        "COURSE_FULL",
    )

    async def test_all_violations(self, registrar: Registrar) -> None:
        """One refusal contains all violations in order, the first gives the reason, and the message all sentences."""
        await prepare(registrar, self.OBSTACLE)
        failure = await refused(registrar.enroll("s-1", "CS-101"))
        found = failure.the(RuleViolations).violations
        assert [one.reason for one in found] == [number(reason) for reason in self.VIOLATED]
        assert failure.reason == "STUDENT_HOLD"
        assert failure.message == " ".join(one.description for one in found)

    async def test_all_overridden(self, registrar: Registrar) -> None:
        """One override may name all rules, and each is recorded once and in order."""
        await prepare(registrar, self.OBSTACLE)
        named = override(*reversed(self.VIOLATED))
        made = await registrar.enroll("s-1", "CS-101", override=named)
        assert list(made.bypassed_rules) == [number(reason) for reason in dict.fromkeys(self.VIOLATED)]

    async def test_some_overridden(self, registrar: Registrar) -> None:
        """The refusal contains only the rules that the override does not name."""
        await prepare(registrar, self.OBSTACLE)
        named = override("STUDENT_HOLD", "COURSE_FULL")
        failure = await refused(registrar.enroll("s-1", "CS-101", override=named))
        found = [one.reason for one in failure.the(RuleViolations).violations]
        assert found == [number("ENROLLMENT_CLOSED"), number("CREDIT_LIMIT_EXCEEDED")]
        assert failure.reason == "ENROLLMENT_CLOSED"


class TestFields:
    """One refusal names every invalid field of a request by its path."""

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            (
                SwapEnrollmentRequest(
                    from_course_id="?",
                    to_course_id="?",
                    request_id="1",
                    override=Override(rules=[ERROR_REASON_STUDENT_INACTIVE]),
                    comment="x" * 1001,
                ),
                {
                    "request_id": UUID_RULE,
                    "student_id": f"is required and {ID_RULE}",
                    "from_course_id": f'{ID_RULE}: "?" begins with "?"',
                    "to_course_id": f'{ID_RULE}: "?" begins with "?"',
                    "override.rules[0]": "must be one of COURSE_FULL, CREDIT_LIMIT_EXCEEDED, DROP_DEADLINE_PASSED,"
                    " ENROLLMENT_CLOSED, ENROLLMENT_NOT_OPEN, PREREQUISITE_UNMET, SCHEDULE_CONFLICT, STUDENT_HOLD",
                    "override.reason": "is required",
                    "comment": "must have at most 1000 characters, has 1001",
                },
            ),
            (
                SwapEnrollmentRequest(student_id="s-1", from_course_id="CS-101", to_course_id="CS-101"),
                {"to_course_id": "must be another course than from_course_id"},
            ),
            (
                CompleteEnrollmentRequest(course_id="/", grade="x" * 65, request_id="1"),
                {
                    "request_id": UUID_RULE,
                    "student_id": f"is required and {ID_RULE}",
                    "course_id": f'{ID_RULE}: "/" begins with a slash',
                    "grade": "must have at most 64 characters, has 65",
                },
            ),
            (
                RecordCompletionRequest(student_id="s-1", grade="\0", request_id="1", comment="\0"),
                {
                    "request_id": UUID_RULE,
                    "course_id": f"is required and {ID_RULE}",
                    "grade": "must not contain U+0000",
                    "comment": "must not contain U+0000",
                },
            ),
            (
                PlaceHoldRequest(student_id=" ", reason="x" * 1001, request_id="1"),
                {
                    "request_id": UUID_RULE,
                    "student_id": f'{ID_RULE}: " " begins with a blank',
                    "code": "is required",
                    "reason": "must have at most 1000 characters, has 1001",
                },
            ),
            (
                ReleaseHoldRequest(code="x" * 65, request_id="1"),
                {
                    "request_id": UUID_RULE,
                    "student_id": f"is required and {ID_RULE}",
                    "code": "must have at most 64 characters, has 65",
                },
            ),
        ],
        ids=["swap", "swap-with-itself", "complete", "record", "place-hold", "release-hold"],
    )
    async def test_every_bad_field(
        self, sqlite_registrar: Registrar, request_: Message, expected: dict[str, str]
    ) -> None:
        """Fields are checked before anything is looked up."""
        name = request_.DESCRIPTOR.name.removesuffix("Request")
        method = next(getattr(stub, name) for stub in sqlite_registrar[1:] if hasattr(stub, name))
        failure = await refused(method(request_))
        assert (failure.code, failure.details[0]) == (StatusCode.INVALID_ARGUMENT, info("INVALID_FIELD"))
        assert failure.fields == expected
        sentences = "; ".join(f"{path}: {problem}" for path, problem in expected.items())
        assert sentences.startswith(failure.message.removesuffix("…"))
