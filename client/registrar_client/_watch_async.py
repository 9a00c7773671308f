"""Watches the history, for asyncio."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, overload

import grpc

from registrar_client import _watch_sync
from registrar_client._enums import EventType
from registrar_client._grpc_errors import from_rpc_error
from registrar_client._runners import AsyncRunner
from registrar_client._types import Event
from registrar_client._watching import Checkpoint, Progress, unanswered, watch_call
from registrar_client.errors import Cancelled, RegistrarError, Unavailable

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


watch.__doc__ = (
    (_watch_sync.watch.__doc__ or "")
    .replace("with registrar", "async with registrar")
    .replace("for event in", "async for event in")
    .replace("In a ``with``", "In an ``async with``")
)


class AsyncWatch(Generic[Item]):
    """A watch to iterate over with ``async for``. One task may use it; another one may close it."""

    def __init__(self, runner: AsyncRunner, call: Any, *, checkpoints: bool) -> None:
        self._runner = runner
        self._progress = Progress[Item](runner, call, checkpoints=checkpoints)
        self._stream: Any = None
        self._is_closed = False

    @property
    def revision(self) -> int | None:
        """The revision up to which all events were returned; None if the watch has not begun."""
        return self._progress.revision

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._progress.has_items:
            if self._is_closed:
                raise StopAsyncIteration
            await self._receive()
        return self._progress.next_item()

    async def __aenter__(self) -> Self:
        await self._receive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the watch."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.cancel()

    async def _receive(self) -> None:
        """Take one response, from a new stream if the last one has broken off."""
        while not self._is_closed:
            try:
                response = await self._read()
            except grpc.RpcError as error:
                await self._wait_after(from_rpc_error(error, self._progress.call().request), error)
            except TimeoutError:
                await self._wait_after(unanswered(), None)
            else:
                if response is not grpc.aio.EOF:
                    self._progress.receive(response)
                    return
                if not self._is_closed:
                    await self._wait_after(Unavailable("The stream has ended."), None)

    async def _read(self) -> Any:
        """Return the next response. The first one of a stream must come in time."""
        if self._stream is not None:
            return await self._next_of(self._stream)
        seconds = self._progress.seconds_left
        async with asyncio.timeout(seconds if seconds < math.inf else None):
            self._stream = await self._runner.open_stream(self._progress.call(), seconds)
            return await self._next_of(self._stream)

    async def _next_of(self, stream: Any) -> Any:
        try:
            return await stream.read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            if self._is_closed:
                return grpc.aio.EOF
            raise Cancelled("The client was closed.") from None

    async def _wait_after(self, failure: RegistrarError, cause: grpc.RpcError | None) -> None:
        self._stream = None
        if self._is_closed:
            return
        pause = self._progress.pause_after(failure)
        if pause is None:
            self._is_closed = True
            raise await self._runner.final(failure) from cause
        await self._runner.sleep(pause)
        self._runner.check_open(failure)
