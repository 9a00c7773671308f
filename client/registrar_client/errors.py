"""What calls raise: ``RegistrarError``, under it one class per status, and under those one per reason.

Catch as much as you mean to handle: ``CourseFull``, or ``FailedPrecondition`` for every rule that refuses, or
``RegistrarError``. A reason that is new to this client is raised as the class of its status. The classes of the
reasons are in ``registrar_client.reasons``; all of them can be imported from ``registrar_client``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from registrar_client._enums import ErrorReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One rule that refused a call."""

    reason: ErrorReason
    """The reason the rule refuses with."""
    description: str = ""
    """A sentence that a student could read; not for programs."""
    # A dict has no hash; without its part, violations that are equal still have the same.
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The values that decided, by name."""
    overridable: bool = False
    """Whether an ``Override`` could set the rule aside."""
    override_rule: ErrorReason | None = None
    """What that ``Override`` would have to name: the reason itself, but ``COURSE_FULL`` for ``WAITLIST_FULL``. ``None``
    where the rule cannot be set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field of the request that the server refused."""

    field: str
    """The path of the field, as the protos name it, such as ``course.capacity``."""
    description: str = ""
    """What is wrong with it, for people."""


class RegistrarError(Exception):
    """A call failed. Its text is the server's message, its ``__cause__`` the ``grpc.RpcError``."""

    status: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    """The gRPC status."""
    reason: str = ""
    """The ``ErrorReason``; its bare name if it is new to this client; empty where Registrar gave none."""

    def __init__(
        self,
        message: str = "",
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        field_violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        """The ids involved, by name."""
        self.violations = tuple(violations)
        """The rules that refused, all of them, the one in ``reason`` first."""
        self.field_violations = tuple(field_violations)
        """The fields of the request that were refused, all of them."""
        self.retry_after = retry_after
        """The seconds the server asks to wait before a retry; None where it said nothing."""
        self.request_id = request_id
        """What the call was sent with. After a failure that leaves open whether the change was made, such as
        ``Unavailable`` or ``DeadlineExceeded``, the same call with this ``request_id`` settles it."""


class Cancelled(RegistrarError):
    """CANCELLED: the call was given up before it ended."""

    status = grpc.StatusCode.CANCELLED


class Unknown(RegistrarError):
    """UNKNOWN: a failure that says nothing about itself."""

    status = grpc.StatusCode.UNKNOWN


class InvalidArgument(RegistrarError):
    """INVALID_ARGUMENT: the request is wrong, whatever the data."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(RegistrarError):
    """DEADLINE_EXCEEDED: there was no answer within the timeout. The change may have been made."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(RegistrarError):
    """NOT_FOUND: something named in the request is not there."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExists(RegistrarError):
    """ALREADY_EXISTS: something to be made is there already."""

    status = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(RegistrarError):
    """PERMISSION_DENIED: the caller is known, but not allowed."""

    status = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(RegistrarError):
    """RESOURCE_EXHAUSTED: too many calls, or a message that is too large."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(RegistrarError):
    """FAILED_PRECONDITION: rules refuse; ``violations`` has all of them."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(RegistrarError):
    """ABORTED: the call collided with another one."""

    status = grpc.StatusCode.ABORTED


class OutOfRange(RegistrarError):
    """OUT_OF_RANGE: Registrar does not use it; something between it and the caller might."""

    status = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(RegistrarError):
    """UNIMPLEMENTED: the server does not have this call; it may be older than the client."""

    status = grpc.StatusCode.UNIMPLEMENTED


class Internal(RegistrarError):
    """INTERNAL: an unexpected failure; the message has the id to look for in the server's log."""

    status = grpc.StatusCode.INTERNAL


class Unavailable(RegistrarError):
    """UNAVAILABLE: the service cannot be reached or cannot work now. The change may have been made."""

    status = grpc.StatusCode.UNAVAILABLE


class DataLoss(RegistrarError):
    """DATA_LOSS: Registrar does not use it; something between it and the caller might."""

    status = grpc.StatusCode.DATA_LOSS


class Unauthenticated(RegistrarError):
    """UNAUTHENTICATED: the caller is not known."""

    status = grpc.StatusCode.UNAUTHENTICATED
