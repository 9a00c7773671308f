"""Converts refusals to ``google.rpc.Status``: the canonical code, a sentence, and typed details of limited size.

gRPC calls with more than 8 KiB of trailers fail at random. The trailers contain the message and the base64-encoded
status. ``detail_budget.py`` makes the details fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from registrar.v1.error_reason_pb2 import BatchRefusal, BatchRefusals, RuleViolations
from registrar_server.errors import Reason, Refusal
from registrar_server.rpc import convert
from registrar_server.rpc.detail_budget import ELLIPSIS, fit, shortened
from registrar_server.rpc.validation import reason_number

DOMAIN = "registrar"
MAX_MESSAGE_BYTES = 600
MAX_STATUS_BYTES = 4_000
DETAILS_KEY = "grpc-status-details-bin"

_DETAILS: tuple[Any, ...] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.RetryInfo,
    error_details_pb2.ResourceInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    RuleViolations,
)
"""The details of the refusal of a write."""

_RESOURCES = {
    Reason.STUDENT_NOT_FOUND: ("registrar.v1.Student", "student_id"),
    Reason.STUDENT_EXISTS: ("registrar.v1.Student", "student_id"),
    Reason.COURSE_NOT_FOUND: ("registrar.v1.Course", "course_id"),
    Reason.COURSE_EXISTS: ("registrar.v1.Course", "course_id"),
    Reason.ENROLLMENT_NOT_FOUND: ("registrar.v1.Enrollment", "enrollment_id"),
    Reason.ALREADY_ENROLLED: ("registrar.v1.Enrollment", "enrollment_id"),
    Reason.ALREADY_WAITLISTED: ("registrar.v1.Enrollment", "enrollment_id"),
}


class RpcStatus(NamedTuple):
    """The argument of ``context.abort_with_status``, with the attributes of ``grpc.Status``."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]

    @property
    def message(self) -> Status:
        """The status with its details as a message."""
        return Status.FromString(self.trailing_metadata[0][1])


def of_refusal(refusal: Refusal) -> RpcStatus:
    """Return the status of a refusal with all details that fit."""
    return _assemble(grpc.StatusCode[refusal.status], refusal.message, list(_details(refusal)))


def of_deadline(message: str = "") -> RpcStatus:
    """Return the status of a call whose deadline passed while it waited; by default, nothing was changed."""
    message = message or "The deadline passed before the work began; nothing was changed."
    return _assemble(grpc.StatusCode.DEADLINE_EXCEEDED, message, [])


def of_late_answer(*, changes: bool) -> RpcStatus:
    """Return the status of a call whose deadline passed, if its work may have begun; whether it ``changes`` data."""
    message = "The deadline passed before the answer."
    if changes:
        message += " A change may have been made; repeat it with its request_id."
    return _assemble(grpc.StatusCode.DEADLINE_EXCEEDED, message, [])


def of_crash(error_id: str) -> RpcStatus:
    """Return the status for an unexpected error; ``error_id`` is its id in the log."""
    message = f"Internal error; the server's log has more under error_id {error_id}."
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, metadata={"error_id": error_id})
    return _assemble(grpc.StatusCode.INTERNAL, message, [info])


def _details(refusal: Refusal) -> Iterable[Any]:
    yield error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=refusal.metadata)
    if refusal.retry_after is not None:
        nanos = round(refusal.retry_after * 1_000_000_000)
        delay = Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)
        yield error_details_pb2.RetryInfo(retry_delay=delay)
    if refusal.reason in _RESOURCES:
        kind, key = _RESOURCES[refusal.reason]
        yield error_details_pb2.ResourceInfo(
            resource_type=kind, resource_name=refusal.metadata.get(key, ""), description=refusal.message
        )
    if refusal.fields:
        yield _bad_request(refusal)
    if refusal.status == "FAILED_PRECONDITION":
        yield from _broken_rules(refusal)
    if refusal.refused:
        yield BatchRefusals(
            refusals=[
                BatchRefusal(index=index, reasons=map(reason_number, one.reasons), description=one.message)
                for index, one in refusal.refused.items()
            ]
        )


def _bad_request(refusal: Refusal) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in refusal.fields
        ]
    )


def _broken_rules(refusal: Refusal) -> Iterable[Any]:
    found = [(one.reason, one.description) for one in refusal.violations] or [(refusal.reason, refusal.message)]
    subject = "/".join(refusal.metadata.values())
    yield error_details_pb2.PreconditionFailure(
        violations=[
            error_details_pb2.PreconditionFailure.Violation(type=reason, subject=subject, description=description)
            for reason, description in found
        ]
    )
    if refusal.violations:
        yield RuleViolations(violations=map(convert.violation, refusal.violations))


def shorten(status: Status, budget: int) -> None:
    """Make a status fit into a number of bytes: shorten texts, then drop details, and keep its code and reason.

    ``budget`` is at least 128.
    """
    if status.ByteSize() <= budget:
        return
    details = [_unpack(detail) for detail in status.details]
    status.message = shortened(status.message, budget // 8)
    fit(details, budget - len(status.message.encode()))
    _fill(status, details)
    if status.ByteSize() > budget:
        info = next((detail for detail in details if isinstance(detail, error_details_pb2.ErrorInfo)), None)
        _fill(status, [error_details_pb2.ErrorInfo(reason=info.reason, domain=DOMAIN)] if info else [])


def _fill(status: Status, details: Iterable[Any]) -> None:
    del status.details[:]
    status.details.extend(map(_pack, details))


def _assemble(code: grpc.StatusCode, message: str, details: list[Any]) -> RpcStatus:
    message = _shortened(message)
    left_out = fit(details, MAX_STATUS_BYTES - len(message.encode()))
    if left_out:
        message += f" ({left_out} more details left out)"
    status = Status(code=code.value[0], message=message, details=[_pack(detail) for detail in details])
    return RpcStatus(code, message, ((DETAILS_KEY, status.SerializeToString()),))


def _shortened(message: str) -> str:
    """Truncate a message to its size limit; gRPC encodes each byte outside of printable ASCII as three."""
    size = 0
    for place, character in enumerate(message):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if size > MAX_MESSAGE_BYTES:
            return message[:place] + ELLIPSIS
    return message


def _unpack(packed: AnyMessage) -> Any:
    kind = next(kind for kind in _DETAILS if packed.Is(kind.DESCRIPTOR))
    detail = kind()
    packed.Unpack(detail)
    return detail


def _pack(detail: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
