"""Watches the history, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, overload

import grpc

from registrar_client import _watch_sync
from registrar_client._enums import EventType
from registrar_client._runners import AsyncRunner
from registrar_client._types import Event
from registrar_client._watching import BaseWatch, Checkpoint, ended, failure_of, watch_call
from registrar_client.errors import Cancelled, RegistrarError

Item = TypeVar("Item")


class AsyncOwner(Protocol):
    """The calls for events."""

    @property
    def _runner(self) -> AsyncRunner: ...


@overload
def watch(
    self: AsyncOwner,
    *,
    after_revision: int | None = None,
    student_id: str = "",
    course_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    checkpoints: Literal[False] = False,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> AsyncWatch[Event]: ...
@overload
def watch(
    self: AsyncOwner,
    *,
    after_revision: int | None = None,
    student_id: str = "",
    course_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    checkpoints: bool,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> AsyncWatch[Event | Checkpoint]: ...
def watch(
    self: AsyncOwner,
    *,
    after_revision: int | None = None,
    student_id: str = "",
    course_id: str = "",
    types: Iterable[EventType] = (),
    actor: str = "",
    checkpoints: bool = False,
    timeout: float | None = None,
    on_behalf_of: str | None = None,
) -> AsyncWatch[Any]:
    # The docstring is that of the other client, below.
    call = watch_call(
        after_revision=after_revision,
        student_id=student_id,
        course_id=course_id,
        types=types,
        actor=actor,
        timeout=timeout,
        on_behalf_of=on_behalf_of,
    )
    return AsyncWatch(self._runner, call, checkpoints=checkpoints)


watch.__doc__ = _watch_sync.watch.__doc__


class AsyncWatch(BaseWatch[Item]):
    """A watch to iterate over with ``async for``. One task may use it; another one may close it."""

    def __init__(self, runner: AsyncRunner, call: Any, *, checkpoints: bool) -> None:
        super().__init__(runner, call, checkpoints=checkpoints)
        self._runner = runner
        self._closed = asyncio.Event()

    def __del__(self) -> None:
        # A call of grpc.aio refers to itself, so only a garbage collection would end the stream.
        self._drop_stream()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._closed.is_set():
            if self._progress.has_items:
                return self._progress.next_item()
            await self._receive()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        if self._stream is None and not self._progress.has_items:
            await self._receive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the watch. An iteration in another task ends."""
        self._closed.set()
        self._drop_stream()

    async def _receive(self) -> None:
        """Take one response, from a new stream if the last one has broken off."""
        while not self._closed.is_set():
            try:
                self._progress.receive(await self._read())
                return
            except RegistrarError as failure:
                await self._wait_after(failure)
            except BaseException:
                # gRPC has cancelled the stream if the task was cancelled, as by a timeout around the wait.
                self._drop_stream()
                raise

    async def _read(self) -> Any:
        """Return the next response, which must come in time."""
        stream = self._stream
        if stream is None:
            self._progress.begin()
            seconds = self._progress.seconds_left()
            stream = self._stream = await self._runner.open_stream(self._progress.call(), seconds)
            if self._closed.is_set():
                stream.cancel()  # The task that closed the watch has not seen the stream.
        try:
            async with asyncio.timeout(self._progress.seconds_left()):
                return await _next_of(stream)
        except TimeoutError:
            stream.cancel()
            raise self._progress.late() from None

    async def _wait_after(self, failure: RegistrarError) -> None:
        self._stream = None
        if self._closed.is_set():
            return
        pause = self._progress.pause_after(failure)
        if pause is None:
            self._closed.set()
            raise await self._runner.final(failure) from failure.__cause__
        await self._runner.wait(self._closed, pause)
        self._runner.check_open(failure)


async def _next_of(stream: Any) -> Any:
    try:
        response = await stream.read()
    except grpc.RpcError as error:
        raise failure_of(error) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Cancelled("The watch or the client was closed.") from None
    if response is grpc.aio.EOF:
        raise ended()
    return response
