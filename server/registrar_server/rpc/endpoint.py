"""The wrapper of every RPC: converts errors to statuses and writes one log line. Nothing else aborts a call."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from registrar_server.errors import Reason, Refusal, drop_frames
from registrar_server.rpc import status
from registrar_server.rpc.grpc_log import note_response
from registrar_server.stopwatch import spent

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Request, Context], Awaitable[Response]]

MAX_LOGGED_CHARACTERS = 128
LATENESS_S = 0.05
"""How much later than at the client a deadline may pass at the server: the client cancels the call when it passes."""

_FAULTS = frozenset({Reason.DATABASE_UNAVAILABLE.value, Reason.CONTENTION.value, Reason.OVERLOADED.value})
"""The reasons of refusals that are faults of the server."""

log = structlog.get_logger()


def endpoint(method: Method[Request, Response]) -> Method[Request, Response]:
    """Wrap a servicer's method.

    A ``Refusal`` becomes its status with details. Any other exception is logged with its traceback and answered
    INTERNAL with a constant message, so that callers learn nothing about the server's internals. Every call logs one
    ``rpc`` line: method, status, reason, the ids involved, duration_ms and peer.
    """
    name = method.__name__

    @functools.wraps(method)
    async def call(servicer: Any, request: Request, context: Context) -> Response:
        begun = time.perf_counter()
        line: dict[str, Any] = {"method": name, "status": "OK"}
        try:
            response = await method(servicer, request, context)
            line.update(_ids(response))
            note_response(response)
            return response
        except Refusal as refusal:
            line.update(status=refusal.status, reason=refusal.reason.value, **refusal.metadata)
            answer = status.of_refusal(refusal)
        except asyncio.CancelledError:
            line["status"] = "DEADLINE_EXCEEDED" if _is_over(context) else "CANCELLED"
            raise
        except TimeoutError:
            line["status"] = "DEADLINE_EXCEEDED"
            answer = status.of_deadline()
        except Exception as error:
            error_id = _log_crash(error, name)
            line.update(status="INTERNAL", error_id=error_id)
            answer = status.of_crash(error_id)
        finally:
            line.update(_ids(request))
            _log_call(line, begun, servicer.slow_call, context)
        try:
            await context.abort_with_status(answer)  # type: ignore[arg-type]  # RpcStatus has grpc.Status's attributes.
        finally:
            # gRPC keeps the error that this raises in the context, and its traceback keeps this frame. With the context
            # among the frame's variables, the call and its request would stay in memory until a garbage collection.
            del servicer, request, context
        raise AssertionError("abort_with_status returned")

    return call


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


def _ids(message: Message) -> dict[str, str]:
    """Return the ids in a request or response, at the top level and in its resource."""
    found: dict[str, str] = {}
    for resource, name in _id_fields(message.DESCRIPTOR):
        value = getattr(getattr(message, resource) if resource else message, name)
        if value:
            found[name] = _printable(value)
    return found


def _printable(value: str) -> str:
    """Truncate an invalid id and escape control characters."""
    value = value[:MAX_LOGGED_CHARACTERS]
    return value if value.isprintable() else value.encode("unicode_escape").decode()


@functools.cache
def _id_fields(message: Descriptor) -> tuple[tuple[str, str], ...]:
    found = []
    for field in message.fields:
        if field.name.endswith("_id"):
            found.append(("", field.name))
        elif field.name in ("student", "course", "enrollment"):
            nested = field.message_type.fields if field.message_type else ()
            found.extend((field.name, inner.name) for inner in nested if inner.name.endswith("_id"))
    return tuple(found)
