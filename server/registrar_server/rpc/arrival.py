"""A call from its arrival to its outcome: what it asks, its response or its status, and its one line in the log."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

import structlog

from registrar_server import logs
from registrar_server.errors import Reason, Refusal, drop_frames
from registrar_server.identity.callers import ANYONE, Caller
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.ledger.calls import Answer, Outcome
from registrar_server.ledger.event_lines import add_names, log_events
from registrar_server.rpc import status
from registrar_server.rpc.methods import Method
from registrar_server.rpc.status import RpcStatus
from registrar_server.rpc.student_view import student_view
from registrar_server.rpc.twins import Entry
from registrar_server.stopwatch import spent

LATENESS_S = 0.05
"""How much later than at the client a deadline may pass at the server: the client cancels the call when it passes."""

_FAULTS = frozenset({Reason.DATABASE_UNAVAILABLE.value, Reason.CONTENTION.value, Reason.OVERLOADED.value})
"""The reasons of refusals that are faults of the server."""

_NOTHING: Mapping[str, int] = {}

log = structlog.get_logger()


class Context(Protocol):
    """What a call knows of its caller; gRPC's context has these methods."""

    def peer(self) -> str:
        """Return the address of the caller."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call, or None if it has none."""


class _Limited:
    """The context of a write with a deadline of its own."""

    def __init__(self, context: Context, due: float) -> None:
        self._due = due
        self._context = context
        self.peer = context.peer

    def time_remaining(self) -> float:
        left, of_call = self._due - time.perf_counter(), self._context.time_remaining()
        return left if of_call is None else min(left, of_call)


class Arrival:
    """A call. When ``is_over``, the caller can be answered, with ``response`` or with ``refused``, or has left."""

    __slots__ = (
        "_begun",
        "_context",
        "_ended",
        "_log",
        "_peer",
        "_slow_call",
        "as_student",
        "caller",
        "data",
        "entry",
        "is_over",
        "method",
        "noted",
        "place",
        "refused",
        "request",
        "response",
    )

    def __init__(
        self, method: Method, data: bytes, context: Context, slow_call: float, *, place: int | None = None
    ) -> None:
        """Make a call, or the write at this ``place`` of a batch."""
        self._begun = time.perf_counter()
        self._context = context
        self._log = log.bind()
        self._peer = ""
        self._slow_call = slow_call
        self.place = place
        self.method = method
        self.data = data
        self.request: Any = None
        """The message in ``data``; None until it is read."""
        self.entry: Entry | None = None
        """The place of the call in a queue."""
        self.response = b""
        self.refused: RpcStatus | None = None
        self.caller = ANYONE
        self.as_student = False
        """Whether the caller makes the call as a student, who sees less of the response."""
        self.noted = _NOTHING
        """What else the log says of the call."""
        self.is_over = False
        self._ended: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """The address of the caller."""
        if not self._peer:
            self._peer = self._context.peer()
        return self._peer

    def keep_peer(self) -> None:
        """Ask for the address of the caller now: gRPC does not know it any more when the connection is lost."""
        self._peer = self._context.peer()

    async def wait(self) -> None:
        """Return when the call is over; at most one caller may wait. Who stops waiting before has to call ``leave``."""
        if not self.is_over:
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call, or None if it has none."""
        return self._context.time_remaining()

    def leave_out(self, seconds: float) -> None:
        """Leave out seconds so far in which the server waited for the caller, from the duration in the log."""
        self._begun += seconds

    def write(self, method: Method, request: Any, place: int, timeout: float | None) -> Arrival:
        """Return a write of this call as a call of its own, with a deadline ``timeout`` seconds after this arrival."""
        context = self._context if timeout is None else _Limited(self._context, self._begun + timeout)
        write = Arrival(method, b"", context, math.inf, place=place)
        write.request = request
        write._peer = self.peer
        write.caller = self.caller
        return write

    def end(self, outcome: Outcome) -> None:
        """Give the caller the outcome, and log it.

        A ``Refusal`` becomes its status with details. Any other error is logged with its traceback and becomes INTERNAL
        with a constant message, so that callers learn nothing about the server's internals. The events of a change are
        logged even if the caller has left.
        """
        if isinstance(outcome, Answer):
            log_events(outcome.events, self._log)
        if self.is_over:
            return
        try:
            line = self._begin_line()
            try:
                self._take(outcome, line)
            except Exception as error:  # Without an outcome the caller would wait forever.
                self._take(error, line)
            self._write_line(line)
        finally:
            self._finish()

    def _finish(self) -> None:
        self.is_over = True
        self.entry = None  # It refers to this call. Both would stay in memory until a garbage collection.
        if self._ended and not self._ended.done():
            self._ended.set_result(None)

    def _take(self, outcome: Outcome, line: dict[str, Any]) -> None:
        """Keep the response or the status, and add what the log says of it to its line."""
        if isinstance(outcome, Answer):
            self.response, message = outcome.response, outcome.message
            if message is None or self.as_student:
                message = self.method.response.FromString(outcome.response)
            if self.as_student:
                student_view(message, self.caller.student_id)
                self.response = message.SerializeToString()
            self.method.ids_of_response(message, line)
        elif isinstance(outcome, Refusal):
            self.refused = status.of_refusal(outcome)
            line |= {"status": outcome.status, "reason": outcome.reason.value, **outcome.metadata}
            if isinstance(outcome, CredentialsRefused):
                line["cause"] = outcome.cause
        elif isinstance(outcome, TimeoutError):
            self.refused = status.of_deadline(str(outcome))
            line["status"] = "DEADLINE_EXCEEDED"
        else:
            error_id = _log_crash(outcome, self.method.name, self.caller)
            self.refused = status.of_crash(error_id)
            line |= {"status": "INTERNAL", "error_id": error_id}

    def leave(self) -> bool:
        """Give the call up, because its caller has cancelled it or its deadline has passed.

        Returns whether its work may have begun.
        """
        if self.is_over:  # The call has its outcome, which is logged. The caller left just then.
            return True
        may_have_begun = self.entry is not None and self.entry.leave()
        line = self._begin_line()
        line["status"] = "DEADLINE_EXCEEDED" if self._is_late() else "CANCELLED"
        self._write_line(line)
        self._finish()
        return may_have_begun

    def _is_late(self) -> bool:
        """Return whether the call was cancelled because its deadline has passed at the client."""
        remaining = self._context.time_remaining()
        return remaining is not None and remaining < LATENESS_S

    def _begin_line(self) -> dict[str, Any]:
        """Return what the log says of the call before its outcome is known."""
        line: dict[str, Any] = {"method": self.method.name, "status": "OK"}
        add_names(self.caller, line)
        if self.place is not None:
            line["write"] = self.place
        if self.request is not None:
            self.method.ids_of_request(self.request, line)
        if self.noted:
            line |= self.noted
        return line

    def _write_line(self, line: dict[str, Any]) -> None:
        """Log the call: one that failed through a fault of the server or was slow is a warning, a crash is an error."""
        ended = time.perf_counter()
        line["duration_ms"] = round((ended - self._begun) * 1000, 3)
        level = "info"
        if ended - self._begun > self._slow_call:
            line.update(spent(self.entry.stopwatch if self.entry else None, self._begun, ended))
            level = "warning"
        if line["status"] != "OK":
            if line.get("reason") in _FAULTS:
                level = "warning"
            elif line["status"] == "INTERNAL":
                level = "error"
        line["peer"] = self.peer
        logs.add(self._log, level, "rpc", line)


def names_of(caller: Caller) -> dict[str, str]:
    """Return what log lines say of a caller."""
    names: dict[str, str] = {}
    add_names(caller, names)
    return names


def _log_crash(error: Exception, method: str, caller: Caller) -> str:
    """Log an unexpected error and return its id. An error that fails a whole batch is logged only once."""
    error_id: str = getattr(error, "registrar_error_id", "")
    if not error_id:
        error_id = str(uuid.uuid4())
        error.registrar_error_id = error_id  # type: ignore[attr-defined]
        log.error("rpc_crashed", method=method, error_id=error_id, **names_of(caller), exc_info=error)
    drop_frames(error)
    return error_id
