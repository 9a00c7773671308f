"""The call of BatchService: many changes with one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, Unpack
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from registrar.v1 import batch_service_pb2 as pb
from registrar.v1.batch_service_pb2_grpc import BatchServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._batch_results import BatchResults, batch_failed
from registrar_client._call import Call, CallOptions, Rpc
from registrar_client._connection import positive_seconds
from registrar_client._grpc_errors import from_status
from registrar_client._request_ids import derived, identify
from registrar_client.errors import FieldViolation, RegistrarError

Result = TypeVar("Result")

BATCH_WRITE = Rpc(BatchServiceStub, "BatchWrite")
MAX_WRITES = 1_000
"""The server takes no more in one call."""

_FIELDS: Mapping[object, str] = {
    field.message_type: field.name for field in pb.Write.DESCRIPTOR.oneofs_by_name["write"].fields
}


def batch(
    writes: Iterable[Call[Result]],
    *,
    atomic: bool = False,
    unordered: bool = False,
    validate_only: bool = False,
    check: bool = True,
    request_id: str | UUID | None = None,
    **options: Unpack[CallOptions],
) -> Call[BatchResults[Result]]:
    """Make up to 1,000 changes with one call. ``registrar_client.writes`` makes the writes.

    The writes are made in order, and each sees the effects of those before it. A refused write does not disturb the
    others.

    Args:
        writes: The changes, such as ``[writes.enroll(student_id="s-1", course_id="CS-101")]``.
        atomic: Make all writes or none, in one transaction.
        unordered: Make the writes in any order, which is faster for writes to different courses. A write that the
            server cannot make now is refused alone, and is not repeated.
        validate_only: Return what the call would return, but change nothing.
        check: Raise BatchFailed if a write was refused. Otherwise, ``results.errors`` has the errors. An atomic batch
            with a refused write always raises, since it has no results.
        request_id: A UUID that makes it safe to repeat the call: the writes that were made are not made again, and the
            refused ones are decided anew. By default, the client makes one.

    Raises:
        BatchFailed: Writes were refused.
        InvalidField: There is no write or more than 1,000, or values cannot be sent.
        RegistrarError: The whole call failed. Some of the first writes may have been made. Repeat the call with its
            ``request_id`` to make the others.
    """
    listed: list[Call[Result]] = to_wire.items("writes", writes, "writes")
    if len(listed) > MAX_WRITES:  # Otherwise a very large message would be refused before the server counts its writes.
        raise _too_many(len(listed))
    request = to_wire.message(
        pb.BatchWriteRequest,
        atomic=atomic,
        unordered=unordered,
        validate_only=validate_only,
        request_id=to_wire.request_id(request_id),
    )
    for each in listed:
        add_to(request, each)
    identify(request)  # Before the call, since the errors of writes name their ids.

    def read(response: pb.BatchWriteResponse) -> BatchResults[Result]:
        found = outcomes(listed, request, response)
        results = BatchResults[Result](found, revision=response.revision, abridged=response.abridged)
        if check and results.errors:
            raise batch_failed(results.errors, results, request_id=request.request_id)
        return results

    return Call(BATCH_WRITE, request, read, **options)


def add_to(batch: pb.BatchWriteRequest, call: Call[Any]) -> Any:
    """Add a call to a batch as its last write, and return the copy of its request.

    Raises InvalidField, and adds nothing, if the call is not a change, its timeout is wrong, or it names a person.
    """
    if not isinstance(call, Call):
        raise _not_a_change(type(call).__name__)
    field = _FIELDS.get(call.request.DESCRIPTOR)
    if field is None:
        raise _not_a_change(call.rpc.name)
    if call.on_behalf_of is not None:
        violation = FieldViolation(field="writes", description="must have no on_behalf_of: the call has one for all")
        raise to_wire.invalid_fields([violation])
    timeout = None if call.timeout is None else duration(call.timeout)
    write = batch.writes.add(timeout=timeout)
    request: Any = getattr(write, field)
    request.SetInParent()  # A request without any field would otherwise be absent.
    request.MergeFrom(call.request)
    return request


def _too_many(count: int) -> RegistrarError:
    description = f"must be at most {MAX_WRITES:,}, not {count:,}: bulk makes any number of changes"
    return to_wire.invalid_fields([FieldViolation(field="writes", description=description)])


def _not_a_change(name: str) -> RegistrarError:
    violation = FieldViolation(field="writes", description=f"must be changes, and {name} is not one")
    return to_wire.invalid_fields([violation])


def duration(timeout: float) -> Duration:
    """Return a timeout; raise InvalidField if it is not a positive number of seconds."""
    try:
        nanos = round(positive_seconds("timeout", timeout) * 1e9)
    except (TypeError, ValueError) as error:
        violation = FieldViolation(field="timeout", description=str(error).removeprefix("timeout "))
        raise to_wire.invalid_fields([violation]) from None
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def outcomes(
    writes: Sequence[Call[Result]], request: pb.BatchWriteRequest, response: pb.BatchWriteResponse
) -> list[Result | RegistrarError]:
    """Return the result or the error of each write."""
    found: list[Result | RegistrarError] = []
    for place, (call, result) in enumerate(zip(writes, response.results, strict=True)):
        name = result.WhichOneof("result")
        if name == "error":
            found.append(from_status(result.error, id_of(request, place)))
        else:
            found.append(call.read(getattr(result, name or _FIELDS[call.request.DESCRIPTOR])))
    return found


def id_of(request: pb.BatchWriteRequest, place: int) -> str:
    """Return the request id of a write, its own or the one that the server derives. A preview has none."""
    write = request.writes[place]
    own_id: str = getattr(write, write.WhichOneof("write") or "").request_id
    return own_id or (derived(request.request_id, place) if request.request_id else "")
