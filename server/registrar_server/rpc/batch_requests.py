"""The row of BatchWrite, and what its request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from google.protobuf.duration_pb2 import Duration

from registrar.v1 import batch_service_pb2 as pb
from registrar_server.errors import FieldViolation, Refusal, invalid_fields
from registrar_server.identity.callers import Caller
from registrar_server.ledger.calls import Mark
from registrar_server.rpc import course_changes, enrollment_changes, student_changes
from registrar_server.rpc.methods import Change, IdsReader, Method, digest_of
from registrar_server.rpc.validation import Fields

MAX_WRITES = 1_000
MAX_TIMEOUT_S = 315_576_000_000
"""The longest ``google.protobuf.Duration``."""


def _changes() -> Mapping[str, Change]:
    """Return the changes by the field of ``Write``; raises RuntimeError if a field or a change has no counterpart."""
    changes = (*enrollment_changes.CHANGES, *student_changes.CHANGES, *course_changes.CHANGES)
    by_request: dict[object, Change] = {change.request.DESCRIPTOR: change for change in changes}
    fields = pb.Write.DESCRIPTOR.oneofs_by_name["write"].fields
    if {field.message_type for field in fields} != by_request.keys():
        raise RuntimeError("the fields of registrar.v1.Write and the changes differ")
    return MappingProxyType({field.name: by_request[field.message_type] for field in fields})


CHANGES = _changes()
"""The changes that a batch can contain, by the name of the field of ``Write`` and ``WriteResult``."""


@dataclass(frozen=True, eq=False)
class Batch(Method):
    """An RPC whose request contains requests for changes."""

    @cached_property
    def ids_of_request(self) -> IdsReader:
        """Return what reads the id of a request, and the number of its writes."""
        add_ids = super().ids_of_request

        def add(message: Any, line: dict[str, Any]) -> None:
            add_ids(message, line)
            line["writes"] = len(message.writes)

        return add

    @cached_property
    def ids_of_response(self) -> IdsReader:
        """Return what reads the number of refused writes."""
        return lambda message, line: line.update(refused=message.refused_count)


BATCH_WRITE = Batch(pb.BatchWriteRequest, pb.BatchWriteResponse)
NO_WRITE = Method(pb.Write, pb.WriteResult)
"""The method of a write that names no change."""


class Options(NamedTuple):
    """What a batch asks for besides its writes."""

    atomic: bool
    unordered: bool
    validate_only: bool
    errors_only: bool
    request_id: str

    def mark(self, caller: Caller) -> Mark | None:
        """Return what the batch of a caller keeps under its ``request_id``, if it has one."""
        if not self.request_id or self.validate_only:
            return None
        content = f"{pb.BatchWriteRequest.DESCRIPTOR.full_name}\0{self.atomic:d}{self.unordered:d}"
        return Mark(self.request_id, digest_of(content.encode(), caller.on_behalf_of), caller.actor)


def read_options(request: pb.BatchWriteRequest) -> Options:
    """Return what a request asks for, or raise INVALID_FIELD with all wrong fields."""
    given = Fields()
    request_id = given.request_id(request.request_id)
    if not 1 <= len(request.writes) <= MAX_WRITES:
        given.wrong("writes", f"must have from 1 to {MAX_WRITES} entries, has {len(request.writes)}")
    if request.atomic and request.unordered:
        given.wrong("unordered", "must not be set together with atomic")
    if request.view not in pb.BatchView.values():
        given.wrong("view", "must be BATCH_VIEW_FULL or BATCH_VIEW_ERRORS")
    given.check()
    errors_only = request.view == pb.BATCH_VIEW_ERRORS
    return Options(request.atomic, request.unordered, request.validate_only, errors_only, request_id)


class Asked(NamedTuple):
    """What a write asks for; without a change, its request is the write itself."""

    change: Change | None
    request: Any
    timeout: float | None
    """Seconds; None if the write has no timeout of its own, and not positive if it is wrong."""


def asked_by(write: pb.Write) -> Asked:
    """Return what a write asks for."""
    name = write.WhichOneof("write")
    timeout = _seconds(write.timeout) if write.HasField("timeout") else None
    if name is None:
        return Asked(None, write, timeout)
    return Asked(CHANGES[name], getattr(write, name), timeout)


def note_faults(given: Fields, change: Change, request: Any, timeout: float | None) -> None:
    """Note what is wrong with a write that its change does not check."""
    if change.takes_validate_only and request.validate_only:
        given.wrong("validate_only", "must not be set in a write; the batch has a validate_only of its own")
    if timeout is not None and timeout <= 0:
        given.wrong("timeout", "must be a positive duration, such as 1.5s")


def no_change() -> Refusal:
    """Return the refusal of a write that names no change, or one that only newer servers know."""
    return invalid_fields([FieldViolation("write", f"must be one of {', '.join(CHANGES)}")])


def _seconds(timeout: Duration) -> float:
    """Return a duration in seconds, or 0 for one that is not valid."""
    is_valid = 0 <= timeout.seconds <= MAX_TIMEOUT_S and 0 <= timeout.nanos <= 999_999_999
    return timeout.seconds + timeout.nanos / 1e9 if is_valid else 0.0
