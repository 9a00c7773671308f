"""Watches the history, for scripts and threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, overload

import grpc

from registrar_client._enums import EventType
from registrar_client._runners import Runner
from registrar_client._types import Event
from registrar_client._watching import BaseWatch, Checkpoint, ended, failure_of, watch_call
from registrar_client.errors import Cancelled, RegistrarError

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

    The iteration does not end by itself. If the connection is lost, the server stops or nothing comes for 30 seconds,
    it connects again and goes on where it was: each event comes once, and none is left out. Errors are raised where the
    iteration waits.

        with registrar.history.watch(after_revision=stored) as events:
            for event in events:
                handle(event)
                store(events.revision)

    In a ``with`` block, the watch begins with the block, and without one with the first event that is asked for. With
    asyncio, these are ``async with`` and ``async for``.

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


class Watch(BaseWatch[Item]):
    """A watch to iterate over. One thread may use it; another one may close it."""

    def __init__(self, runner: Runner, call: Any, *, checkpoints: bool) -> None:
        super().__init__(runner, call, checkpoints=checkpoints)
        self._runner = runner
        self._closed = threading.Event()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._closed.is_set():
            if self._progress.has_items:
                return self._progress.next_item()
            self._receive()
        raise StopIteration

    def __enter__(self) -> Self:
        if self._stream is None and not self._progress.has_items:
            self._receive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the watch. An iteration in another thread ends."""
        self._closed.set()
        self._drop_stream()

    def _receive(self) -> None:
        """Take one response, from a new stream if the last one has broken off."""
        while not self._closed.is_set():
            try:
                self._progress.receive(self._read())
                return
            except RegistrarError as failure:
                self._wait_after(failure)
            except BaseException:
                # The stream may still receive a response for a wait that Ctrl-C has ended.
                self._drop_stream()
                raise

    def _read(self) -> Any:
        """Return the next response, which must come in time."""
        stream = self._stream
        if stream is None:
            self._progress.begin()
            stream = self._stream = self._runner.open_stream(self._progress.call())
            if self._closed.is_set():
                stream.cancel()  # The thread that closed the watch may not have seen the stream.
        return self._next_of(stream)

    def _next_of(self, stream: Any) -> Any:
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            stream.cancel()

        timer = threading.Timer(self._progress.seconds_left(), end)
        timer.daemon = True
        timer.start()
        try:
            return _next_of(stream)
        except Cancelled:
            if is_late.is_set():
                raise self._progress.late() from None
            raise
        finally:
            timer.cancel()

    def _wait_after(self, failure: RegistrarError) -> None:
        self._stream = None
        if self._closed.is_set():
            return
        pause = self._progress.pause_after(failure)
        if pause is None:
            self._closed.set()
            raise self._runner.final(failure) from failure.__cause__
        self._runner.wait(self._closed, pause)
        self._runner.check_open(failure)


def _next_of(stream: Any) -> Any:
    try:
        response = next(stream, None)
    except grpc.RpcError as error:
        raise failure_of(error) from error
    if response is None:
        raise ended()
    return response
