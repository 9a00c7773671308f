"""Converts refusals to ``google.rpc.Status``: the canonical code, a sentence, and typed details of limited size.

gRPC calls with more than 8 KiB of trailers fail at random. The trailers contain the message and the base64-encoded
status. Details that do not fit are dropped from the end, and the message says how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from registrar.v1.error_reason_pb2 import RuleViolations
from registrar_server.errors import Reason, Refusal
from registrar_server.rpc import convert

DOMAIN = "registrar"
MAX_MESSAGE_BYTES = 600
MAX_STATUS_BYTES = 4_000
DETAILS_KEY = "grpc-status-details-bin"

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


def of_refusal(refusal: Refusal) -> RpcStatus:
    """Return the status of a refusal with all details that fit."""
    return _assemble(grpc.StatusCode[refusal.status], refusal.message, list(_details(refusal)))


def of_deadline() -> RpcStatus:
    """Return the status of a call whose deadline passed while it waited."""
    message = "The deadline passed before the work began; nothing was changed."
    return _assemble(grpc.StatusCode.DEADLINE_EXCEEDED, message, [])


def of_crash(request_id: str) -> RpcStatus:
    """Return the status for an unexpected error; ``request_id`` is the error id in the log."""
    message = f"Internal error; the server's log tells more under request {request_id}."
    return _assemble(grpc.StatusCode.INTERNAL, message, [error_details_pb2.RequestInfo(request_id=request_id)])


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


def _assemble(code: grpc.StatusCode, message: str, details: Sequence[Any]) -> RpcStatus:
    kept = list(details)
    message = _shortened(message)
    left_out = _trim(kept, MAX_STATUS_BYTES - len(message.encode()))
    if left_out:
        message += f" ({left_out} more details left out)"
    status = Status(code=code.value[0], message=message, details=[_pack(detail) for detail in kept])
    return RpcStatus(code, message, ((DETAILS_KEY, status.SerializeToString()),))


def _shortened(message: str) -> str:
    """Truncate a message to its size limit; gRPC encodes each byte outside of printable ASCII as three."""
    size = 0
    for place, character in enumerate(message):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode())
        if size > MAX_MESSAGE_BYTES:
            return message[:place] + "…"
    return message


def _trim(details: list[Any], budget: int) -> int:
    """Drop details from the end until the rest fits, lists entry by entry; return how many were dropped."""
    dropped = 0
    size = sum(map(_size, details))
    while len(details) > 1 and size > budget:
        last = details[-1]
        entries = getattr(last, "field_violations", None) or getattr(last, "violations", None) or []
        size -= _size((entries if len(entries) > 1 else details).pop())
        dropped += 1
    return dropped


def _size(message: Any) -> int:
    """Return the size of a message inside another, with its tag and length."""
    return int(message.ByteSize()) + 2


def _pack(detail: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
