"""Refusals in the terms of the domain: a reason, a sentence, and the values that decided it.

This module does not depend on gRPC. ``STATUS`` maps each reason to the name of its canonical status, and
``rpc/endpoint.py`` converts a ``Refusal`` to a ``google.rpc.Status``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")


class Reason(StrEnum):
    """The values of ``registrar.v1.ErrorReason`` without their prefix, as ``ErrorInfo.reason`` contains them."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    STUDENT_NOT_FOUND = "STUDENT_NOT_FOUND"
    COURSE_NOT_FOUND = "COURSE_NOT_FOUND"
    ENROLLMENT_NOT_FOUND = "ENROLLMENT_NOT_FOUND"
    NOT_ENROLLED = "NOT_ENROLLED"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    STUDENT_EXISTS = "STUDENT_EXISTS"
    COURSE_EXISTS = "COURSE_EXISTS"
    ALREADY_ENROLLED = "ALREADY_ENROLLED"
    ALREADY_WAITLISTED = "ALREADY_WAITLISTED"
    STUDENT_INACTIVE = "STUDENT_INACTIVE"
    STUDENT_HOLD = "STUDENT_HOLD"
    COURSE_CANCELLED = "COURSE_CANCELLED"
    ENROLLMENT_NOT_OPEN = "ENROLLMENT_NOT_OPEN"
    ENROLLMENT_CLOSED = "ENROLLMENT_CLOSED"
    DUPLICATE_COURSE = "DUPLICATE_COURSE"
    PREREQUISITE_UNMET = "PREREQUISITE_UNMET"
    SCHEDULE_CONFLICT = "SCHEDULE_CONFLICT"
    CREDIT_LIMIT_EXCEEDED = "CREDIT_LIMIT_EXCEEDED"
    COURSE_FULL = "COURSE_FULL"
    WAITLIST_FULL = "WAITLIST_FULL"
    DROP_DEADLINE_PASSED = "DROP_DEADLINE_PASSED"
    COURSE_HAS_ENROLLMENTS = "COURSE_HAS_ENROLLMENTS"
    STUDENT_HAS_ENROLLMENTS = "STUDENT_HAS_ENROLLMENTS"
    NOT_COMPLETED = "NOT_COMPLETED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    CONTENTION = "CONTENTION"
    OVERLOADED = "OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    CREDENTIALS_INVALID = "CREDENTIALS_INVALID"
    ROLE_REQUIRED = "ROLE_REQUIRED"
    REVISION_AHEAD = "REVISION_AHEAD"


_REASONS_BY_STATUS: Mapping[str, tuple[Reason, ...]] = {
    "INVALID_ARGUMENT": (Reason.INVALID_FIELD, Reason.INVALID_PAGE_TOKEN, Reason.REQUEST_ID_REUSED),
    "NOT_FOUND": (
        Reason.STUDENT_NOT_FOUND,
        Reason.COURSE_NOT_FOUND,
        Reason.ENROLLMENT_NOT_FOUND,
        Reason.NOT_ENROLLED,
        Reason.HOLD_NOT_FOUND,
    ),
    "ALREADY_EXISTS": (Reason.STUDENT_EXISTS, Reason.COURSE_EXISTS, Reason.ALREADY_ENROLLED, Reason.ALREADY_WAITLISTED),
    "FAILED_PRECONDITION": (
        Reason.STUDENT_INACTIVE,
        Reason.STUDENT_HOLD,
        Reason.COURSE_CANCELLED,
        Reason.ENROLLMENT_NOT_OPEN,
        Reason.ENROLLMENT_CLOSED,
        Reason.DUPLICATE_COURSE,
        Reason.PREREQUISITE_UNMET,
        Reason.SCHEDULE_CONFLICT,
        Reason.CREDIT_LIMIT_EXCEEDED,
        Reason.COURSE_FULL,
        Reason.WAITLIST_FULL,
        Reason.DROP_DEADLINE_PASSED,
        Reason.COURSE_HAS_ENROLLMENTS,
        Reason.STUDENT_HAS_ENROLLMENTS,
        Reason.NOT_COMPLETED,
    ),
    "ABORTED": (Reason.ETAG_MISMATCH, Reason.CONTENTION),
    "RESOURCE_EXHAUSTED": (Reason.OVERLOADED, Reason.RATE_LIMITED),
    "UNAVAILABLE": (Reason.DATABASE_UNAVAILABLE, Reason.SHUTTING_DOWN),
    "UNAUTHENTICATED": (Reason.CREDENTIALS_MISSING, Reason.CREDENTIALS_INVALID),
    "PERMISSION_DENIED": (Reason.ROLE_REQUIRED,),
    "OUT_OF_RANGE": (Reason.REVISION_AHEAD,),
}

STATUS: Mapping[Reason, str] = MappingProxyType(
    {reason: status for status, reasons in _REASONS_BY_STATUS.items() for reason in reasons}
)

#: The rules that an ``Override`` may name (``docs/domain.md``).
OVERRIDABLE = frozenset(
    {
        Reason.STUDENT_HOLD,
        Reason.ENROLLMENT_NOT_OPEN,
        Reason.ENROLLMENT_CLOSED,
        Reason.DUPLICATE_COURSE,
        Reason.PREREQUISITE_UNMET,
        Reason.SCHEDULE_CONFLICT,
        Reason.CREDIT_LIMIT_EXCEEDED,
        Reason.COURSE_FULL,
        Reason.DROP_DEADLINE_PASSED,
    }
)


class Violation(NamedTuple):
    """One violated rule: a sentence for people, and the values that decided it."""

    reason: Reason
    description: str
    values: Mapping[str, str]

    @property
    def override_rule(self) -> str:
        """The rule that an ``Override`` must name to set this one aside; empty if no override can."""
        rule = Reason.COURSE_FULL if self.reason is Reason.WAITLIST_FULL else self.reason
        return rule.value if rule in OVERRIDABLE else ""

    @property
    def overridable(self) -> bool:
        """Whether an ``Override`` can set this rule aside."""
        return bool(self.override_rule)


class FieldViolation(NamedTuple):
    """One invalid field of a request; ``field`` is its path, such as ``course.credits``."""

    field: str
    description: str


class Refusal(Exception):
    """A request is refused. Nothing changes, unless the message says that the change is uncertain.

    ``metadata`` contains the ids and values involved, ``retry_after`` the seconds after which a retry may succeed.
    ``uncertain`` says that the change may have been made. ``refused`` has the refusals of an atomic batch by the
    position of the write.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        fields: Iterable[FieldViolation] = (),
        retry_after: float | None = None,
        uncertain: bool = False,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.violations = tuple(violations)
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.uncertain = uncertain
        self.refused: Mapping[int, Refusal] = {}

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons of all violated rules, or the one reason."""
        return tuple(violation.reason for violation in self.violations) or (self.reason,)

    @property
    def status(self) -> str:
        """The name of the canonical status, such as ``NOT_FOUND``."""
        return STATUS[self.reason]


def unwrap(outcome: Result | Exception) -> Result:
    """Return a result, or raise an error."""
    try:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    finally:
        # The error's traceback keeps this frame. If the frame kept the error, both would keep the call and its request
        # in memory until a garbage collection.
        del outcome


def drop_frames(error: BaseException | None) -> None:
    """Drop the traceback and the causes of an error; both keep the variables of every function that it passed."""
    while error:
        cause = error.__cause__ or error.__context__
        # Causes can form a circle, so separate each error from its cause before the next step.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = cause


def invalid_fields(fields: Iterable[FieldViolation]) -> Refusal:
    """Return the refusal that names every invalid field of a request."""
    found = tuple(fields)
    message = "; ".join(f"{field}: {description}" for field, description in found)
    return Refusal(Reason.INVALID_FIELD, message, fields=found)


def rules_violated(violations: Iterable[Violation], **metadata: str) -> Refusal:
    """Return the refusal that names every violated rule; its reason is that of the first violation."""
    found = tuple(violations)
    message = " ".join(violation.description for violation in found)
    refusal = Refusal(found[0].reason, message, violations=found)
    refusal.metadata.update(metadata)
    return refusal


def batch_refused(refused: Mapping[int, Refusal]) -> Refusal:
    """Return the refusal of an atomic batch, which is that of its first refused write."""
    index = min(refused)
    first = refused[index]
    message = f"writes[{index}]: {first.message}"
    refusal = Refusal(first.reason, message, violations=first.violations, fields=first.fields, index=str(index))
    refusal.metadata.update(first.metadata)
    refusal.refused = refused
    return refusal


def request_id_reused(request_id: str) -> Refusal:
    """Return the refusal for a ``request_id`` that was used for something else."""
    message = f'request_id "{request_id}" was already used for another request; use a new one.'
    return Refusal(Reason.REQUEST_ID_REUSED, message, request_id=request_id)


def student_not_found(student_id: str) -> Refusal:
    """Return the refusal for a student who does not exist or is deleted."""
    return Refusal(Reason.STUDENT_NOT_FOUND, f'There is no student "{student_id}".', student_id=student_id)


def course_not_found(course_id: str) -> Refusal:
    """Return the refusal for a course that does not exist or is deleted."""
    return Refusal(Reason.COURSE_NOT_FOUND, f'There is no course "{course_id}".', course_id=course_id)


def enrollment_not_found(enrollment_id: str) -> Refusal:
    """Return the refusal for an enrollment that does not exist."""
    message = f'There is no enrollment "{enrollment_id}".'
    return Refusal(Reason.ENROLLMENT_NOT_FOUND, message, enrollment_id=enrollment_id)


def prerequisites_not_found(course_ids: Sequence[str]) -> Refusal:
    """Return the refusal of prerequisites that never existed; its metadata has the first of them."""
    named = ", ".join(f'"{course_id}"' for course_id in course_ids)
    message = f"course.prerequisite_course_ids names courses that never existed: {named}."
    return Refusal(Reason.COURSE_NOT_FOUND, message, course_id=course_ids[0])


def etag_mismatch(resource: str, resource_id: str, etag: str, *, foreign: bool = False) -> Refusal:
    """Return the refusal for a resource that has changed, or, if ``foreign``, for an etag that it never had."""
    message = f'The {resource} "{resource_id}" has changed since it was read: its etag is now "{etag}". Read it again.'
    if foreign:
        message = f'The given etag is not of the {resource} "{resource_id}", whose etag is "{etag}". Read it again.'
    refusal = Refusal(Reason.ETAG_MISMATCH, message)
    refusal.metadata[f"{resource}_id"] = resource_id
    return refusal


def etag_of_missing(resource: str, resource_id: str) -> Refusal:
    """Return the refusal for an etag of a resource that does not exist."""
    refusal = Refusal(Reason.ETAG_MISMATCH, f'There is no {resource} "{resource_id}", so no etag matches.')
    refusal.metadata[f"{resource}_id"] = resource_id
    return refusal


def overloaded(waiting: int, retry_after: float) -> Refusal:
    """Return the refusal for a call that finds too many calls waiting."""
    message = f"{waiting} calls are already waiting; try again in {retry_after:g} s."
    return Refusal(Reason.OVERLOADED, message, retry_after=retry_after)


def contention(retry_after: float = 0.05) -> Refusal:
    """Return the refusal for a call that waited too long for the locks of other transactions."""
    message = "Other transactions held the same rows for too long; nothing was changed. Try again."
    return Refusal(Reason.CONTENTION, message, retry_after=retry_after)


def database_unavailable(*, uncertain: bool = False) -> Refusal:
    """Return the refusal for a call that the database did not answer; ``uncertain`` if its change may be committed."""
    effect = (
        "the change may or may not have been made. Retry with the same request_id to learn which"
        if uncertain
        else "nothing was changed. Try again"
    )
    message = f"The database is not reachable; {effect}."
    return Refusal(Reason.DATABASE_UNAVAILABLE, message, retry_after=1.0, uncertain=uncertain)


def shutting_down() -> Refusal:
    """Return the refusal for a call that arrives while this server is stopping."""
    return Refusal(Reason.SHUTTING_DOWN, "This server is shutting down; try again elsewhere.", retry_after=0.1)
