"""Makes the response of a batch from the outcomes of its writes, and makes it fit into a message.

The response of a write is bytes already. In the bytes of a message, each field is a tag, and those of messages have a
size and the bytes of the message behind it (https://protobuf.dev/programming-guides/encoding). So the results are
written around these bytes, and nothing is parsed unless the results are too large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from registrar.v1 import batch_service_pb2 as pb
from registrar_server.rpc import status
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_requests import CHANGES

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""By default, clients accept no larger messages, whatever the server accepts."""
MAX_ERROR_BYTES = 4_000
MIN_ERROR_BYTES = 128
"""The code and the reason of an error."""

_FIELDS = pb.WriteResult.DESCRIPTOR.fields_by_name
_RESPONSES = {change: _FIELDS[name].number for name, change in CHANGES.items()}
"""The number of the field with the response of a change."""
_ERROR = _FIELDS["error"].number
_RESULTS = pb.BatchWriteResponse.RESULTS_FIELD_NUMBER


class Results(NamedTuple):
    """The response of a batch in two parts, whose bytes follow each other."""

    packed: bytes
    """The bytes of the results."""
    summary: pb.BatchWriteResponse
    """The other fields."""


class BatchAnswers:
    """Makes responses of at most ``max_bytes``, and of at most what clients accept by default."""

    def __init__(self, max_bytes: int) -> None:
        max_bytes = min(max_bytes, MAX_MESSAGE_BYTES)
        self._max_errors = max_bytes // 2
        self._max_response = max_bytes * 3 // 4

    def results(self, writes: Sequence[Arrival], *, errors_only: bool) -> Results:
        """Return the results of writes, which have ended.

        Errors together take at most half of a message. If the response would take more than three quarters, the
        responses of the writes are abridged, and left out if that is not enough.
        """
        refused = sum(write.refused is not None for write in writes)
        budget = max(min(MAX_ERROR_BYTES, self._max_errors // max(refused, 1)), MIN_ERROR_BYTES)
        packed = b"".join([part for write in writes for part in _parts(write, budget, errors_only=errors_only)])
        summary = pb.BatchWriteResponse(refused_count=refused)
        for reduce in (_abridge, _leave_out):
            if len(packed) + summary.ByteSize() > self._max_response:
                summary.abridged = True
                packed = _reduced(packed, reduce)
        return Results(packed, summary)


def _parts(write: Arrival, error_bytes: int, *, errors_only: bool) -> tuple[bytes, bytes]:
    """Return the bytes of the result of a write, in two parts; an error takes at most so many bytes."""
    if write.refused is not None:
        error = write.refused.message
        status.shorten(error, error_bytes)
        content = error.SerializeToString()
        return _head(_ERROR, len(content)), content
    if errors_only:
        return _NO_RESULT, b""
    return _head(_RESPONSES[write.method], len(write.response)), write.response  # type: ignore[index]  # Only changes have a response.


@lru_cache(maxsize=1024)
def _head(number: int, size: int) -> bytes:
    """Return the first bytes of a result, in front of a message of this size in the field of this number."""
    in_result = _tag(number) + _varint(size)
    return _tag(_RESULTS) + _varint(len(in_result) + size) + in_result


def _tag(number: int) -> bytes:
    """Return the tag of a field with a message."""
    return _varint(number << 3 | 2)


def _varint(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; all but the last byte have the highest bit."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


_NO_RESULT = _tag(_RESULTS) + _varint(0)
"""The bytes of a result without a response and without an error."""


def _reduced(packed: bytes, reduce: Callable[[pb.WriteResult], None]) -> bytes:
    """Return the bytes of reduced results."""
    response = pb.BatchWriteResponse.FromString(packed)
    for result in response.results:
        reduce(result)
    return response.SerializeToString()


def _abridge(result: pb.WriteResult) -> None:
    """Keep only the ids, states and counts of a response."""
    if not result.HasField("error"):
        for _, response in result.ListFields():
            _keep_ids(response)


def _keep_ids(message: Message) -> None:
    for field, value in message.ListFields():
        if field.is_repeated or not _is_kept(field):
            message.ClearField(field.name)
        elif field.message_type:
            _keep_ids(value)


def _is_kept(field: FieldDescriptor) -> bool:
    if field.message_type:
        return field.message_type.full_name.startswith("registrar.")
    return field.name == "state" or field.name.endswith(("_id", "_count"))


def _leave_out(result: pb.WriteResult) -> None:
    if not result.HasField("error"):
        result.Clear()
