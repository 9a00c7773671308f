"""Calls that travel together: each keeps its own deadline, and gets its own response or error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from registrar.v1 import batch_service_pb2 as pb
from registrar_client._call_metadata import Metadata
from registrar_client._grpc_errors import as_rpc_error, from_rpc_error
from registrar_client._retry import is_transient

WRITE_FIELDS = {
    field.message_type.name.removesuffix("Request"): field.name
    for field in pb.Write.DESCRIPTOR.oneofs_by_name["write"].fields
    if field.message_type
}
"""The field of ``Write`` by the name of the RPC, since a request is named after its RPC."""

# The calls of a batch have the same credentials, so UNAUTHENTICATED is the answer to each of them.
_OF_EACH = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAUTHENTICATED)

Answer = Message | Exception | None
"""The response of a call, or its error, or None if it must be sent as a plain call."""


class GatheredCall:
    """An attempt at a call that waits for its answer."""

    __slots__ = ("_leave", "answer", "due", "field", "request")

    def __init__(self, field: str, request: Any, due: float) -> None:
        self.field = field
        """The field of ``Write`` for the request."""
        self.request = request
        self.due = due
        """The deadline, in the time of the client's clock."""
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._leave: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the call has no answer yet and its caller still waits."""
        return not self.answer.done()

    def end(self, answer: Answer) -> None:
        """Give the caller an answer, unless it has one or is cancelled."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def belongs_to(self, leave: Callable[[], None]) -> None:
        """Call this when the caller has its result or is cancelled."""
        self._leave = leave

    def leave(self) -> None:
        """Note that the caller has its result or is cancelled."""
        leave, self._leave = self._leave, None  # A batch and its calls would refer to each other.
        if leave is not None:
            leave()


class GatheredBatch:
    """A batch of calls. They have no order among them."""

    def __init__(self, calls: Sequence[GatheredCall], now: float) -> None:
        self.calls = calls
        self.is_unknown = False
        """Whether the server is too old for batches."""
        self._now = now
        self._is_sent = False
        self._staying = len(calls)
        self._rpc: Any = None
        for call in calls:
            call.belongs_to(self._leave)

    def unsent(self) -> Iterator[GatheredCall]:
        """Return the open calls, none if the batch is on its way."""
        return (call for call in self.calls if call.is_open and not self._is_sent)

    async def carry_out(self, method: Callable[[], Any], metadata: Metadata) -> None:
        """Send the batch and give each call its answer. ``method`` returns the method for BatchWrite."""
        if not any(self.unsent()):
            return
        self._is_sent = True
        try:
            # The server drops a write at the deadline of its call, and the whole batch at the last one.
            timeout = max(call.due for call in self.calls) - self._now
            self._rpc = method()(self._request(), timeout=timeout, metadata=metadata)
            self._give_answers(await self._rpc)
        except grpc.RpcError as error:
            self._fail(error)
        except asyncio.CancelledError:  # All callers have left, or the client was closed.
            for call in self.calls:
                call.answer.cancel()
            raise
        except Exception as error:  # Without an answer, the callers would wait until their deadlines.
            for call in self.calls:
                call.end(error)
        finally:
            self._rpc = None

    def _request(self) -> pb.BatchWriteRequest:
        request = pb.BatchWriteRequest(unordered=True)
        writes = request.writes
        for call in self.calls:
            write = writes.add()
            getattr(write, call.field).CopyFrom(call.request)
            # A timeout must be positive. The server drops a write with the shortest one.
            write.timeout.FromNanoseconds(max(1, round((call.due - self._now) * 1e9)))
        return request

    def _give_answers(self, response: pb.BatchWriteResponse) -> None:
        for call, result in zip(self.calls, response.results, strict=True):
            name = result.WhichOneof("result")
            if name == "error":
                call.end(as_rpc_error(result.error))
            elif name == call.field and not response.abridged:
                call.end(getattr(result, name))
            else:  # The server keeps the whole response and returns it if the call is repeated.
                call.end(None)

    def _fail(self, error: Any) -> None:
        failure = from_rpc_error(error, pb.BatchWriteRequest())
        self.is_unknown = failure.status is grpc.StatusCode.UNIMPLEMENTED
        # Any other failure can be due to the batch, such as its size. It says nothing about a call.
        is_of_each = is_transient(failure) or failure.status in _OF_EACH
        for call in self.calls:
            call.end(_copy(error) if is_of_each else None)

    def _leave(self) -> None:
        self._staying -= 1
        if not self._staying and self._rpc is not None:
            self._rpc.cancel()


def _copy(error: Any) -> grpc.aio.AioRpcError:
    """Return an error of its own for a caller, because raising an error changes its traceback."""
    return grpc.aio.AioRpcError(
        error.code(), error.initial_metadata(), error.trailing_metadata(), error.details(), error.debug_error_string()
    )
