"""What watches of both clients share: how far they have come, and when they connect again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import grpc

from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, Rpc
from registrar_client._docstrings import documented
from registrar_client._enums import EventType
from registrar_client._from_wire import reader
from registrar_client._grpc_errors import from_rpc_error
from registrar_client._retry import Attempts
from registrar_client._runners import BaseRunner
from registrar_client._types import Event
from registrar_client.errors import DeadlineExceeded, RegistrarError, Unavailable

WATCH_EVENTS = Rpc(HistoryServiceStub, "WatchEvents")

Item = TypeVar("Item")

SILENCE_S = 30.0
"""A server sends something every 10 seconds. A stream that is silent for so long is lost, even if its connection is
open, as to a proxy whose server is gone."""

_read_event = reader(Event)


@documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A watch has returned all events up to this revision that it looks for."""

    revision: int
    """The revision that the watch has reached."""


def watch_call(
    *,
    after_revision: int | None,
    student_id: str,
    course_id: str,
    types: Iterable[EventType],
    actor: str,
    timeout: float | None,
    on_behalf_of: str | None,
) -> Call[Any]:
    """Return the call that begins a watch."""
    request = to_wire.message(
        pb.WatchEventsRequest,
        after_revision=after_revision,
        student_id=student_id,
        course_id=course_id,
        types=types,
        actor=actor,
    )
    return Call(WATCH_EVENTS, request, _read_event, timeout, on_behalf_of)


class Progress(Generic[Item]):
    """How far a watch has come. It has one stream after the other; each begins where the last one broke off."""

    def __init__(self, runner: BaseRunner, call: Call[Any], *, checkpoints: bool) -> None:
        self._runner = runner
        self._call = call
        self._checkpoints = checkpoints
        self._items: deque[tuple[int, Any]] = deque()
        """What was received, each with the revision that is reached when the caller has it."""
        request: Any = call.request
        self.revision: int | None = request.after_revision if request.HasField("after_revision") else None
        self._limit = runner.seconds(call)
        """The seconds until a stream must have answered, counted from the first attempt."""
        self._deadline = math.inf
        self._attempts: Attempts | None = None
        """The attempts to get an answer; None if the last stream has answered, or before the first one."""
        self._earlier: Attempts | None = None
        """Those to get the last answer, if it was nothing new."""

    def call(self) -> Call[Any]:
        """Return the call that goes on after what was received."""
        if self.revision is None:
            return self._call
        request = pb.WatchEventsRequest()
        request.CopyFrom(self._call.request)  # type: ignore[arg-type]  # It is of the same type.
        request.after_revision = self.revision
        return replace(self._call, request=request)

    def begin(self) -> None:
        """Begin to count the time in which a new stream must answer, unless that has begun."""
        if self._attempts is None:
            self._begin()

    def seconds_left(self) -> float:
        """Return the seconds until the stream must have sent something."""
        if self._attempts is None:
            return SILENCE_S
        return min(self._deadline - self._runner.timing.now(), SILENCE_S)

    def late(self) -> RegistrarError:
        """Return the error of a stream that has sent nothing in this time."""
        if self._attempts is not None and self._runner.timing.now() >= self._deadline:
            return DeadlineExceeded("The server did not begin to answer within the timeout.")
        return Unavailable(f"The server has sent nothing for {SILENCE_S:g} seconds.")

    @property
    def has_items(self) -> bool:
        """Whether there is something that the caller does not have yet."""
        return bool(self._items)

    def next_item(self) -> Item:
        """Return what the caller gets next."""
        self.revision, item = self._items.popleft()
        return item  # type: ignore[no-any-return]  # It is an event, or a checkpoint if the caller wants them.

    def receive(self, response: pb.WatchEventsResponse) -> None:
        """Take a response of the stream. The caller has all items of the last one."""
        self._runner.reached = True
        is_new = self._attempts is None or response.revision != self.revision
        self._earlier, self._attempts = None if is_new else self._attempts, None
        self._limit = self._call.timeout or math.inf
        self._items.extend((event.revision, event) for event in map(_read_event, response.events))
        if self._items:
            self._items[-1] = (response.revision, self._items[-1][1])
        elif self._checkpoints:
            self._items.append((response.revision, Checkpoint(revision=response.revision)))
        else:
            self.revision = response.revision

    def pause_after(self, failure: RegistrarError) -> float | None:
        """Return the seconds to wait before the next stream, None to give up.

        If the stream has answered, the call itself is right, and the next one goes on whatever the failure was.
        """
        has_answered = self._attempts is None
        attempts = self._attempts or self._begin()
        return self._runner.pause_after(failure, attempts, passes=has_answered)

    def _begin(self) -> Attempts:
        """Begin to count the attempts and the time until the next answer."""
        now = self._runner.timing.now()
        self._deadline = now + self._limit
        self._attempts = self._runner.attempts(now, self._deadline, self._earlier)
        return self._attempts


class BaseWatch(Generic[Item]):
    """What both kinds of watches share."""

    _stream: Any = None

    def __init__(self, runner: BaseRunner, call: Call[Any], *, checkpoints: bool) -> None:
        self._progress = Progress[Item](runner, call, checkpoints=checkpoints)

    @property
    def revision(self) -> int | None:
        """The revision up to which all events were returned; None if the watch has not begun."""
        return self._progress.revision

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()


def failure_of(error: grpc.RpcError) -> RegistrarError:
    """Return the error for one of gRPC."""
    return from_rpc_error(error, pb.WatchEventsRequest())


def ended() -> RegistrarError:
    """Return the error of a stream that a proxy has ended without an error."""
    return Unavailable("The stream has ended.")
