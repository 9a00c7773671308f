"""Converts gRPC errors to the errors of this client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from registrar.v1.error_reason_pb2 import BatchRefusal, BatchRefusals, RuleViolations
from registrar_client import errors
from registrar_client import reasons as error_classes
from registrar_client._batch_results import batch_failed
from registrar_client._enums import ErrorReason
from registrar_client._from_wire import read
from registrar_client._wire_enums import enum_table
from registrar_client.errors import FieldViolation, RegistrarError, Violation

Detail = TypeVar("Detail", bound=Message)

_Details = Mapping[str, AnyMessage]
"""The details of a status by the names of their types."""

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "registrar"


def _kinds(module: ModuleType) -> list[type[RegistrarError]]:
    found = [kind for kind in vars(module).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, RegistrarError) and kind is not RegistrarError]


_CODES = {code.value[0]: code for code in grpc.StatusCode}
_BY_STATUS = {kind.status: kind for kind in _kinds(errors)}
_BY_REASON = {kind.reason: kind for kind in _kinds(error_classes) if kind.reason}


def from_rpc_error(error: grpc.RpcError, request: Message) -> RegistrarError:
    """Return the error for a gRPC error, with everything from its details."""
    call: Any = error
    request_id = getattr(request, "request_id", "")
    failure = _failure(call.code(), call.details(), details := _details(call.trailing_metadata()), request_id)
    refusals = _find(details, BatchRefusals).refusals
    if not refusals:
        return failure
    return batch_failed({each.index: _refusal(each, failure) for each in refusals}, request_id=request_id)


def from_status(status: status_pb2.Status, request_id: str) -> RegistrarError:
    """Return the error of a write of a batch."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _failure(code, status.message, _by_type(status), request_id)


def as_rpc_error(status: status_pb2.Status) -> grpc.aio.AioRpcError:
    """Return the error that gRPC raises for a call of its own with this status."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return rpc_error(code, status.message, (_DETAILS_KEY, status.SerializeToString()))


def rpc_error(code: grpc.StatusCode, message: str, *trailers: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    """Return an error of gRPC."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), message)


def _failure(code: grpc.StatusCode, message: str | None, details: _Details, request_id: str) -> RegistrarError:
    info = _find(details, error_details_pb2.ErrorInfo)
    reason = info.reason if info.domain == _DOMAIN else ""
    return _class_for(code, reason)(
        message or code.name,
        reason=_known(reason),
        metadata=dict(info.metadata),
        violations=[read(Violation, each) for each in _find(details, RuleViolations).violations],
        field_violations=_field_violations(_find(details, error_details_pb2.BadRequest)),
        retry_after=_retry_after(details),
        request_id=request_id,
    )


def _refusal(refusal: BatchRefusal, first: RegistrarError) -> RegistrarError:
    """Return the error of a write of an atomic batch. Only the first refused write has a status of its own."""
    if str(refusal.index) == first.metadata.get("index"):
        return first
    reasons = [enum_table(ErrorReason).member(number) for number in refusal.reasons]
    kind = _BY_REASON.get(reasons[0], RegistrarError)
    violations = [Violation(reason=ErrorReason(reason)) for reason in reasons]
    return kind(refusal.description or ", ".join(reasons), reason=reasons[0], violations=violations)


def _class_for(code: grpc.StatusCode, reason: str) -> type[RegistrarError]:
    kind = _BY_REASON.get(reason)
    # A newer server may send a reason with another status. The status then decides.
    return kind if kind is not None and kind.status is code else _BY_STATUS.get(code, RegistrarError)


def _known(reason: str) -> str:
    return ErrorReason(reason) if reason in _BY_REASON else reason


def _details(trailers: Iterable[tuple[str, str | bytes]] | None) -> _Details:
    for key, value in trailers or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return _by_type(status_pb2.Status.FromString(value))
            except DecodeError:
                # A proxy may truncate the details. The status and the message are still valid.
                return {}
    return {}


def _by_type(status: status_pb2.Status) -> _Details:
    # Of several details of a type, the first counts.
    return {detail.TypeName(): detail for detail in reversed(status.details)}


def _find(details: _Details, kind: type[Detail]) -> Detail:
    found = kind()
    if (detail := details.get(kind.DESCRIPTOR.full_name)) is not None:
        detail.Unpack(found)
    return found


def _field_violations(bad_request: error_details_pb2.BadRequest) -> list[FieldViolation]:
    return [FieldViolation(field=each.field, description=each.description) for each in bad_request.field_violations]


def _retry_after(details: _Details) -> float | None:
    info = _find(details, error_details_pb2.RetryInfo)
    if not info.HasField("retry_delay"):
        return None
    return max(0.0, info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
