"""Makes the response of a batch from the outcomes of its writes, and makes it fit into a message."""

from __future__ import annotations

from collections.abc import Sequence

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

_RESULT_FIELDS = {change: name for name, change in CHANGES.items()}


class BatchAnswers:
    """Makes responses of at most ``max_bytes``, and of at most what clients accept by default."""

    def __init__(self, max_bytes: int) -> None:
        max_bytes = min(max_bytes, MAX_MESSAGE_BYTES)
        self._max_errors = max_bytes // 2
        self._max_response = max_bytes * 3 // 4

    def response(self, writes: Sequence[Arrival], *, errors_only: bool) -> pb.BatchWriteResponse:
        """Return the results of writes, which have ended.

        Errors together take at most half of a message. If the response would take more than three quarters, the
        responses of the writes are abridged, and left out if that is not enough.
        """
        response = pb.BatchWriteResponse()
        for write in writes:
            _add(response, write, errors_only=errors_only)
        self._shorten_errors(response)
        for reduce in (_abridge, _leave_out):
            if response.ByteSize() > self._max_response:
                response.abridged = True
                for result in response.results:
                    reduce(result)
        return response

    def _shorten_errors(self, response: pb.BatchWriteResponse) -> None:
        if response.refused_count:
            budget = max(min(MAX_ERROR_BYTES, self._max_errors // response.refused_count), MIN_ERROR_BYTES)
            for result in response.results:
                if result.HasField("error"):
                    status.shorten(result.error, budget)


def _add(response: pb.BatchWriteResponse, write: Arrival, *, errors_only: bool) -> None:
    result = response.results.add()
    if write.refused is not None:
        response.refused_count += 1
        result.error.CopyFrom(write.refused.message)
    elif not errors_only:
        answer = getattr(result, _RESULT_FIELDS[write.method])  # type: ignore[index]  # Only changes have a response.
        answer.SetInParent()
        answer.MergeFromString(write.response)


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
