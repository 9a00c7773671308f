"""Failed calls as values: code, message and every detail, so that a test can compare them as a whole."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from registrar.v1 import error_reason_pb2

DETAILS_KEY = "grpc-status-details-bin"
_DETAILS: dict[str, type[Message]] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.RequestInfo,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
        error_reason_pb2.BatchRefusals,
        error_reason_pb2.RuleViolations,
    )
}
Detail = TypeVar("Detail", bound=Message)


class Failure(NamedTuple):
    """The error that a caller receives from a failed call."""

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...]

    @classmethod
    def read(cls, error: grpc.aio.AioRpcError) -> Failure:
        """Read an error; its status must repeat the code and the message."""
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers[DETAILS_KEY])
        assert (status.code, status.message) == (error.code().value[0], error.details())
        return cls(error.code(), status.message, tuple(map(_unpacked, status.details)))

    @property
    def reason(self) -> str:
        """The reason in ``ErrorInfo``, which is the first detail."""
        assert isinstance(self.details[0], error_details_pb2.ErrorInfo)
        return self.details[0].reason

    @property
    def fields(self) -> dict[str, str]:
        """The description of each invalid field, by its path."""
        return {one.field: one.description for one in self.the(error_details_pb2.BadRequest).field_violations}

    def the(self, kind: type[Detail]) -> Detail:
        """Return the only detail of a kind."""
        (found,) = [detail for detail in self.details if isinstance(detail, kind)]
        return found


async def refused(call: Awaitable[Any]) -> Failure:
    """Await a call that must fail, and return its failure."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Failure.read(caught.value)


def info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    """Return the first detail of every refusal."""
    return error_details_pb2.ErrorInfo(reason=reason, domain="registrar", metadata=metadata)


def resource(kind: str, name: str, description: str) -> error_details_pb2.ResourceInfo:
    """Return the detail that names a resource that is missing or exists already."""
    return error_details_pb2.ResourceInfo(
        resource_type=f"registrar.v1.{kind}", resource_name=name, description=description
    )


def precondition(kind: str, subject: str, description: str) -> error_details_pb2.PreconditionFailure:
    """Return the detail of one violated rule."""
    violation = error_details_pb2.PreconditionFailure.Violation(type=kind, subject=subject, description=description)
    return error_details_pb2.PreconditionFailure(violations=[violation])


def _unpacked(detail: Any) -> Message:
    message = _DETAILS[detail.TypeName()]()
    assert detail.Unpack(message)
    return message
