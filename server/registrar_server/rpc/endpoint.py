"""What every call gets: its response or its status, and one log line. Nothing else aborts a call."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from registrar_server.errors import Reason, Refusal, drop_frames
from registrar_server.rpc import status
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.grpc_log import note_response
from registrar_server.rpc.methods import Method
from registrar_server.stopwatch import spent

Context = grpc.aio.ServicerContext[bytes, bytes]

LATENESS_S = 0.05
"""How much later than at the client a deadline may pass at the server: the client cancels the call when it passes."""

_FAULTS = frozenset({Reason.DATABASE_UNAVAILABLE.value, Reason.CONTENTION.value, Reason.OVERLOADED.value})
"""The reasons of refusals that are faults of the server."""

log = structlog.get_logger()


class Endpoints:
    """Makes the handlers of methods. A call that takes longer than ``slow_call`` seconds is logged as slow."""

    def __init__(self, dispatcher: Dispatcher, slow_call: float) -> None:
        self._dispatcher = dispatcher
        self._slow_call = slow_call

    def handler(self, method: Method) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Return the handler of a method, from bytes to bytes.

        A ``Refusal`` becomes its status with details. Any other exception is logged with its traceback and answered
        INTERNAL with a constant message, so that callers learn nothing about the server's internals. Every call logs
        one ``rpc`` line: method, status, reason, the ids involved, duration_ms and peer.
        """

        async def handle(data: bytes, context: Context) -> bytes:
            begun = time.perf_counter()
            line: dict[str, Any] = {"method": method.name, "status": "OK"}
            request = None
            try:
                request = method.read(data)
                answer = await self._dispatcher.answer(method, request, context.time_remaining)
                line.update(method.ids_of_response(answer.message or method.response.FromString(answer.response)))
                note_response(answer.response)
                return answer.response
            except Refusal as refusal:
                line.update(status=refusal.status, reason=refusal.reason.value, **refusal.metadata)
                refused = status.of_refusal(refusal)
            except asyncio.CancelledError:
                line["status"] = "DEADLINE_EXCEEDED" if _is_over(context) else "CANCELLED"
                raise
            except TimeoutError:
                line["status"] = "DEADLINE_EXCEEDED"
                refused = status.of_deadline()
            except Exception as error:
                error_id = _log_crash(error, method.name)
                line.update(status="INTERNAL", error_id=error_id)
                refused = status.of_crash(error_id)
            finally:
                if request is not None:
                    line.update(method.ids_of_request(request))
                _log_call(line, begun, self._slow_call, context)
            try:
                await context.abort_with_status(refused)  # type: ignore[arg-type]  # It has the attributes of grpc.Status.
            finally:
                # gRPC keeps the error that this raises in the context, and its traceback keeps this frame. With the
                # context among the frame's variables, the call and its request would stay in memory until a garbage
                # collection.
                del data, request, context
            raise AssertionError("abort_with_status returned")

        return handle


def _is_over(context: Context) -> bool:
    """Return whether the call was cancelled because its deadline has passed at the client."""
    remaining: float | None = context.time_remaining()
    return remaining is not None and remaining < LATENESS_S


def _log_call(line: dict[str, Any], begun: float, slow_call: float, context: Context) -> None:
    """Log a call: one that failed through a fault of the server or was slow is a warning, a crash is an error."""
    ended = time.perf_counter()
    line["duration_ms"] = round((ended - begun) * 1000, 3)
    write = log.info
    if ended - begun > slow_call:
        line.update(spent(begun, ended))
        write = log.warning
    if line["status"] != "OK":
        if line.get("reason") in _FAULTS:
            write = log.warning
        elif line["status"] == "INTERNAL":
            write = log.error
    write("rpc", **line, peer=context.peer())


def _log_crash(error: Exception, method: str) -> str:
    """Log an unexpected error and return its id. An error that fails a whole batch is logged only once."""
    error_id: str = getattr(error, "registrar_error_id", "")
    if not error_id:
        error_id = str(uuid.uuid4())
        error.registrar_error_id = error_id  # type: ignore[attr-defined]
        log.error("rpc_crashed", method=method, error_id=error_id, exc_info=error)
    drop_frames(error)
    return error_id
