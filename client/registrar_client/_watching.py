"""What watches of both clients share: how far they have come, and when they connect again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from registrar.v1 import history_service_pb2 as pb
from registrar.v1.history_service_pb2_grpc import HistoryServiceStub
from registrar_client import _to_wire as to_wire
from registrar_client._call import Call, Rpc
from registrar_client._docstrings import documented
from registrar_client._enums import EventType
from registrar_client._from_wire import reader
from registrar_client._retry import Attempts
from registrar_client._runners import BaseRunner
from registrar_client._types import Event
from registrar_client.errors import DeadlineExceeded, RegistrarError

WATCH_EVENTS = Rpc(HistoryServiceStub, "WatchEvents")

Item = TypeVar("Item")

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
        self._has_answered = False
        """Whether the stream has sent something."""
        self._attempts: Attempts | None = None
        self._deadline = self._now() + runner.seconds(call)

    def _now(self) -> float:
        return self._runner.timing.now()

    def call(self) -> Call[Any]:
        """Return the call that goes on after what was received."""
        if self.revision is None:
            return self._call
        request = pb.WatchEventsRequest()
        request.CopyFrom(self._call.request)  # type: ignore[arg-type]  # It is of the same type.
        request.after_revision = self.revision
        return replace(self._call, request=request)

    @property
    def seconds_left(self) -> float:
        """The seconds until a stream must have answered."""
        return self._deadline - self._now()

    @property
    def has_items(self) -> bool:
        """Whether there is something that the caller does not have yet."""
        return bool(self._items)

    def next_item(self) -> Item:
        """Return what the caller gets next."""
        self.revision, item = self._items.popleft()
        return item  # type: ignore[no-any-return]  # It is an event, or a checkpoint if the caller wants them.

    def receive(self, response: pb.WatchEventsResponse) -> None:
        """Take a response of the stream."""
        self._runner.reached = self._has_answered = True
        self._attempts, self._deadline = None, math.inf
        self._items.extend((event.revision, event) for event in map(_read_event, response.events))
        if self._items:
            self._items[-1] = (response.revision, self._items[-1][1])
        elif self._checkpoints:
            self._items.append((response.revision, Checkpoint(revision=response.revision)))
        else:
            self.revision = response.revision

    def pause_after(self, failure: RegistrarError) -> float | None:
        """Return the seconds to wait before the next stream, None to give up.

        If the stream has sent something, the call itself is right, and the next one goes on whatever the failure was.
        """
        if self._attempts is None:
            now = self._now()
            if self._has_answered:
                self._deadline = now + (self._call.timeout or math.inf)
            self._attempts = self._runner.attempts(now, self._deadline)
        pause = self._runner.pause_after(failure, self._attempts)
        if pause is None and self._has_answered and self._runner.retry.max_attempts != 1:
            pause = failure.retry_after or 0.0
        self._has_answered = False
        return pause


def unanswered() -> RegistrarError:
    """Return the error of a watch whose stream has not begun in time."""
    return DeadlineExceeded("The watch did not begin within its timeout.")
