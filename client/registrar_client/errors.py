"""The errors that calls raise: ``RegistrarError``, a subclass per status, and below it a subclass per reason.

Catch ``CourseFull`` for one reason, ``FailedPrecondition`` for every rule that refuses, or ``RegistrarError`` for every
failure. A reason that a newer server added is raised as the class of its status. The classes of the reasons are in
``registrar_client.reasons``. All classes can be imported from ``registrar_client``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from registrar_client._docstrings import documented
from registrar_client._enums import ErrorReason


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that refused a call."""

    reason: ErrorReason
    """The reason of the rule."""
    description: str = ""
    """A sentence for people, not for programs."""
    # A dict has no hash. Equal violations still have equal hashes without it.
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The values that caused the refusal, by name."""
    overridable: bool = False
    """Whether an ``Override`` can set the rule aside."""
    override_rule: ErrorReason | None = None
    """The rule that the ``Override`` must name: the reason itself, or ``COURSE_FULL`` for ``WAITLIST_FULL``. ``None``
    if no ``Override`` can set the rule aside."""


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """A field of the request that the server refused."""

    field: str
    """The path of the field in the request, such as ``course.capacity``."""
    description: str = ""
    """What is wrong with the field, for people."""


class RegistrarError(Exception):
    """A failed call. The text is the server's message, and ``__cause__`` is the ``grpc.RpcError``."""

    status: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    """The gRPC status."""
    reason: str = ""
    """The ``ErrorReason``, or the name of a reason that a newer server added. Empty if the server gave no reason."""

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
        """The ids of the resources involved, by name. ``left_out`` counts the details that did not fit into the
        response, and ``error_id`` names an unexpected error in the server's log."""
        self.violations = tuple(violations)
        """All rules that refused. The first is the rule in ``reason``."""
        self.field_violations = tuple(field_violations)
        """All fields of the request that the server refused."""
        self.retry_after = retry_after
        """The seconds to wait before a retry, as the server asks. ``None`` if it does not."""
        self.request_id = request_id
        """The request id of the call. After ``Unavailable`` or ``DeadlineExceeded``, the server may have made the
        change. Repeat the call with this ``request_id`` to make the change once and get its result."""


class Cancelled(RegistrarError):
    """CANCELLED: the call was cancelled."""

    status = grpc.StatusCode.CANCELLED


class Unknown(RegistrarError):
    """UNKNOWN: an error without further information."""

    status = grpc.StatusCode.UNKNOWN


class InvalidArgument(RegistrarError):
    """INVALID_ARGUMENT: the request is invalid, whatever the server stores."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(RegistrarError):
    """DEADLINE_EXCEEDED: no response came within the timeout. The server may have made the change."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(RegistrarError):
    """NOT_FOUND: a resource named in the request does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExists(RegistrarError):
    """ALREADY_EXISTS: the resource to create exists already."""

    status = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(RegistrarError):
    """PERMISSION_DENIED: the caller is not allowed to make the call."""

    status = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(RegistrarError):
    """RESOURCE_EXHAUSTED: there are too many calls, or a message is too large."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(RegistrarError):
    """FAILED_PRECONDITION: rules refuse the call. ``violations`` lists all of them."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(RegistrarError):
    """ABORTED: the call conflicts with another call."""

    status = grpc.StatusCode.ABORTED


class OutOfRange(RegistrarError):
    """OUT_OF_RANGE: a watch begins after the end of the history."""

    status = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(RegistrarError):
    """UNIMPLEMENTED: the server does not have this call. It may be older than the client."""

    status = grpc.StatusCode.UNIMPLEMENTED


class Internal(RegistrarError):
    """INTERNAL: an unexpected error. ``metadata["error_id"]`` is the id of the error in the server's log."""

    status = grpc.StatusCode.INTERNAL


class Unavailable(RegistrarError):
    """UNAVAILABLE: the server cannot be reached or cannot work now. It may have made the change."""

    status = grpc.StatusCode.UNAVAILABLE


class DataLoss(RegistrarError):
    """DATA_LOSS: Registrar does not send this status, but a proxy may."""

    status = grpc.StatusCode.DATA_LOSS


class Unauthenticated(RegistrarError):
    """UNAUTHENTICATED: the caller has no valid credentials."""

    status = grpc.StatusCode.UNAUTHENTICATED
