"""Watches the history, for scripts and threads."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, overload

import grpc

from registrar_client._enums import EventType
from registrar_client._grpc_errors import from_rpc_error
from registrar_client._runners import Runner
from registrar_client._types import Event
from registrar_client._watching import Checkpoint, Progress, unanswered, watch_call
from registrar_client.errors import RegistrarError, Unavailable

Item = TypeVar("Item")


class Owner(Protocol):
    """The calls for events."""

    @property
    def _runner(self) -> Runner: ...


@overload
def watch(
    self: Owner,
    *,
    after_revision: int | None = None,
    student_id: str = "",
    course_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    checkpoints: Literal[False] = False,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> Watch[Event]: ...
@overload
def watch(
    self: Owner,
    *,
    after_revision: int | None = None,
    student_id: str = "",
    course_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    checkpoints: bool,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> Watch[Event | Checkpoint]: ...
def watch(  # noqa: D417  # It is a method of the client.
    self: Owner,
    *,
    after_revision: int | None = None,
    student_id: str = "",
    course_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    checkpoints: bool = False,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> Watch[Any]:
    """Watch the history: iterate over its events, first those that exist already and then new ones as they come.

    The iteration does not end by itself. If the connection is lost or the server stops, it connects again and goes on
    where it was: each event comes once, and none is left out. Errors are raised where the iteration waits.

        with registrar.history.watch(after_revision=stored) as events:
            for event in events:
                handle(event)
                store(events.revision)

    In a ``with`` block, the watch begins with the block, and without one with the first event that is asked for.

    Args:
        after_revision: Only events after this revision, such as the ``revision`` that a watch has reached. 0 means from
            the first event on. By default, only events from now on.
        student_id: Only events of this student.
        course_id: Only events of this course.
        types: Only events of one of these types.
        actor: Only events of changes that this caller requested, such as ``key:sis-sync``.
        checkpoints: Also return a ``Checkpoint`` when all events that exist are returned, and then at least every 10
            seconds. A program that stores the revision can do so then, even if no event fits the filters.
        timeout: Seconds until the watch begins, and until it goes on after an interruption. By default, it begins
            within the client's timeout, and tries to go on without a limit.
        on_behalf_of: Watch on behalf of this person. Defaults to the person of the client. An empty string means
            nobody.

    Raises:
        InvalidField: The server refuses values, such as a negative revision.
        RevisionAhead: The history has not reached ``after_revision``.
        RegistrarError: Any other failure that does not pass by itself.
    """
    call = watch_call(
        after_revision=after_revision,
        student_id=student_id,
        course_id=course_id,
        types=types,
        actor=actor,
        timeout=timeout,
        on_behalf_of=on_behalf_of,
    )
    return Watch(self._runner, call, checkpoints=checkpoints)


class Watch(Generic[Item]):
    """A watch to iterate over. One thread may use it; another one may close it."""

    def __init__(self, runner: Runner, call: Any, *, checkpoints: bool) -> None:
        self._runner = runner
        self._progress = Progress[Item](runner, call, checkpoints=checkpoints)
        self._stream: Any = None
        self._is_closed = False

    @property
    def revision(self) -> int | None:
        """The revision up to which all events were returned; None if the watch has not begun."""
        return self._progress.revision

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._progress.has_items:
            if self._is_closed:
                raise StopIteration
            self._receive()
        return self._progress.next_item()

    def __enter__(self) -> Self:
        self._receive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watch."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.cancel()

    def _receive(self) -> None:
        """Take one response, from a new stream if the last one has broken off."""
        while not self._is_closed:
            try:
                self._progress.receive(self._read())
                return
            except grpc.RpcError as error:
                self._wait_after(from_rpc_error(error, self._progress.call().request), error)
            except StopIteration:
                self._wait_after(Unavailable("The stream has ended."), None)

    def _read(self) -> Any:
        """Return the next response. The first one of a stream must come in time."""
        if self._stream is not None:
            return next(self._stream)
        seconds = self._progress.seconds_left
        stream = self._stream = self._runner.open_stream(self._progress.call())
        with _cancelling(stream, seconds) if seconds < math.inf else contextlib.nullcontext():
            return next(stream)

    def _wait_after(self, failure: RegistrarError, cause: grpc.RpcError | None) -> None:
        self._stream = None
        if self._is_closed:
            return
        if failure.status is grpc.StatusCode.CANCELLED and self._progress.seconds_left <= 0:
            failure = unanswered()
        pause = self._progress.pause_after(failure)
        if pause is None:
            self._is_closed = True
            raise self._runner.final(failure) from cause
        self._runner.sleep(pause)
        self._runner.check_open(failure)


@contextlib.contextmanager
def _cancelling(stream: Any, seconds: float) -> Iterator[None]:
    """Cancel a stream if the block takes longer."""
    timer = threading.Timer(seconds, stream.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
