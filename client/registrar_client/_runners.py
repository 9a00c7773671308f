"""Execute calls over a channel, with retries until a deadline, and raise the errors of this client."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc

from registrar_client._call import Call, Rpc
from registrar_client._call_metadata import CallMetadata
from registrar_client._calls.batches import BATCH_WRITE
from registrar_client._connection import Connection, positive_seconds
from registrar_client._diagnosis import advise, is_unconnected, unreached
from registrar_client._gather import Gatherer
from registrar_client._grpc_errors import from_rpc_error
from registrar_client._request_ids import identify
from registrar_client._retry import Attempts, RetryOptions, Timing
from registrar_client._stopping import Stop
from registrar_client._to_wire import invalid_fields
from registrar_client.errors import Cancelled, FieldViolation, RegistrarError

Result = TypeVar("Result")


class _Stubs(dict[Rpc, Any]):
    """The callables of gRPC by RPC, created when an RPC is first called."""

    def __init__(self, channel: Callable[[], Any], gatherer: Gatherer | None = None) -> None:
        super().__init__()
        self._channel = channel
        self._gatherer = gatherer

    def __missing__(self, rpc: Rpc) -> Any:
        method = getattr(rpc.stub(self._channel()), rpc.name)
        self[rpc] = method = method if self._gatherer is None else self._gatherer.method(rpc, method)
        return method


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _closed() -> NoReturn:
    raise RuntimeError("this client is closed")


class BaseRunner:
    """The parts that both runners share."""

    def __init__(
        self,
        connection: Connection,
        channel: Callable[[], Any],
        metadata: CallMetadata,
        timeout: float,
        retry: RetryOptions | None,
    ) -> None:
        self.timing = Timing()
        self._connection = connection
        self.reached = False
        """Whether the server was ever reached."""
        self._is_closed = False
        self._stubs = _Stubs(channel)
        self._metadata = metadata
        self._timeout = positive_seconds("timeout", timeout)
        self._retry = retry or RetryOptions()

    def seconds(self, call: Call[Any]) -> float:
        """Return the seconds for all attempts at a call. Raises InvalidField for what is no timeout."""
        if call.timeout is None:
            return self._timeout
        try:
            return positive_seconds("timeout", call.timeout)
        except (TypeError, ValueError) as error:
            description = str(error).removeprefix("timeout ")
            raise invalid_fields([FieldViolation(field="timeout", description=description)]) from None

    def attempts(self, started: float, deadline: float, earlier: Attempts | None = None) -> Attempts:
        """Return what decides whether attempts are repeated that began at this time."""
        return Attempts(self._retry, self.timing, deadline, started + self._connection.connect_timeout, earlier)

    def pause_after(self, failure: RegistrarError, attempts: Attempts, *, passes: bool = False) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up."""
        advise(failure)
        # A missed deadline does not tell whether there was a connection.
        if not is_unconnected(failure) and failure.status is not grpc.StatusCode.DEADLINE_EXCEEDED:
            self.reached = True
        return attempts.pause_after(failure, reached=self.reached, passes=passes)

    def _is_unreached(self, failure: RegistrarError) -> bool:
        return not self.reached and is_unconnected(failure)

    def check_open(self, failure: RegistrarError) -> None:
        """Raise Cancelled if the client was closed after this failure."""
        if self._is_closed:
            raise Cancelled("The client was closed.", request_id=failure.request_id) from failure

    def _close(self) -> None:
        self._is_closed = True
        self._stubs = _Stubs(_closed)


class Runner(BaseRunner):
    """Executes calls and returns their results. Threads may share it."""

    def __init__(
        self,
        connection: Connection,
        channel: grpc.Channel,
        *,
        metadata: CallMetadata,
        timeout: float,
        retry: RetryOptions | None,
        owned: bool,
    ) -> None:
        super().__init__(connection, lambda: channel, metadata, timeout, retry)
        self.sleep: Callable[[float], None] = time.sleep
        self.wait: Callable[[threading.Event, float], object] = threading.Event.wait
        self._owned_channel = channel if owned else None

    def run(self, call: Call[Result], /, stop: Stop | None = None) -> Result:
        """Execute a call. Another thread can end it with ``stop``."""
        identify(call.request)
        method, sleep = self._stubs[call.rpc], self.sleep
        if stop is not None:
            method, sleep = stop.stoppable(method), stop.sleep
        now = self.timing.now
        common = self._metadata.of(call)
        started = now()
        deadline = started + self.seconds(call)
        attempts: Attempts | None = None
        while True:
            metadata = self._metadata.of_attempt(common)
            try:
                response = method(call.request, timeout=deadline - now(), metadata=metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error, call.request)
                attempts = attempts or self.attempts(started, deadline)
                pause = self.pause_after(failure, attempts)
                if pause is None:
                    raise self.final(failure) from error
            else:
                self.reached = True
                return call.read(response)
            sleep(pause)
            self.check_open(failure)

    def open_stream(self, call: Call[Any]) -> Any:
        """Begin a call that is answered with a stream, and return gRPC's call."""
        metadata = self._metadata.of_attempt(self._metadata.of(call))
        return self._stubs[call.rpc](call.request, metadata=metadata)

    def final(self, failure: RegistrarError) -> RegistrarError:
        """Return the error that the caller gets for the failure of the last attempt."""
        return unreached(self._connection, failure) if self._is_unreached(failure) else failure

    def close(self) -> None:
        """Close the channel, unless the caller opened it."""
        self._close()
        if self._owned_channel is not None:
            self._owned_channel.close()


class AsyncRunner(BaseRunner):
    """Executes calls on one event loop."""

    def __init__(
        self,
        connection: Connection,
        open_channel: Callable[[], grpc.aio.Channel],
        *,
        metadata: CallMetadata,
        timeout: float,
        retry: RetryOptions | None,
        owned: bool,
        gather: bool,
    ) -> None:
        super().__init__(connection, self._channel, metadata, timeout, retry)
        self._gatherer: Gatherer | None = None
        if gather:
            self._gatherer = Gatherer(lambda: self._stubs[BATCH_WRITE], lambda: self.timing.now())
            self._stubs = _Stubs(self._channel, self._gatherer)
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.wait: Callable[[asyncio.Event, float], Awaitable[None]] = _wait
        self._open_channel = open_channel
        self._opened: grpc.aio.Channel | None = None
        self._owned = owned

    def _channel(self) -> grpc.aio.Channel:
        # A grpc.aio channel belongs to the event loop that runs when it is opened. A client may be made earlier.
        if self._opened is None:
            self._opened = self._open_channel()
        return self._opened

    async def run(self, call: Call[Result], /) -> Result:
        """Execute a call."""
        identify(call.request)
        method = self._stubs[call.rpc]
        now = self.timing.now
        common, request_id = self._metadata.of(call), getattr(call.request, "request_id", "")
        started = now()
        deadline = started + self.seconds(call)
        attempts: Attempts | None = None
        while True:
            metadata = await self._metadata.of_async_attempt(common, deadline - now(), request_id)
            try:
                response = await method(call.request, timeout=deadline - now(), metadata=metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error, call.request)
                attempts = attempts or self.attempts(started, deadline)
                pause = self.pause_after(failure, attempts)
                if pause is None:
                    raise await self.final(failure) from error
            else:
                self.reached = True
                return call.read(response)
            await self.sleep(pause)
            self.check_open(failure)

    async def open_stream(self, call: Call[Any], seconds: float | None) -> Any:
        """Begin a call that is answered with a stream, and return gRPC's call. A token must be there in ``seconds``."""
        metadata = await self._metadata.of_async_attempt(self._metadata.of(call), seconds, "")
        return self._stubs[call.rpc](call.request, metadata=metadata)

    async def final(self, failure: RegistrarError) -> RegistrarError:
        """Return the error that the caller gets for the failure of the last attempt."""
        # Name servers and probes would block the event loop.
        return await asyncio.to_thread(unreached, self._connection, failure) if self._is_unreached(failure) else failure

    async def close(self) -> None:
        """Close the channel, unless the caller opened it."""
        self._close()
        if self._gatherer:
            self._gatherer.close()
        if self._owned and self._opened is not None:
            await self._opened.close()
