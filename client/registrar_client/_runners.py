"""Execute calls over a channel, with retries until a deadline, and raise the errors of this client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc

from registrar_client._call import Call, Rpc
from registrar_client._connection import Metadata, positive_seconds
from registrar_client._grpc_errors import from_rpc_error
from registrar_client._retry import Attempts, RetryOptions, Timing

Result = TypeVar("Result")


class _Stubs(dict[Rpc, Any]):
    """The callables of gRPC by RPC, created when an RPC is first called."""

    def __init__(self, channel: Callable[[], Any]) -> None:
        super().__init__()
        self._channel = channel

    def __missing__(self, rpc: Rpc) -> Any:
        self[rpc] = method = getattr(rpc.stub(self._channel()), rpc.name)
        return method


def _closed() -> NoReturn:
    raise RuntimeError("this client is closed")


class _Base:
    """The parts that both runners share."""

    def __init__(
        self, channel: Callable[[], Any], metadata: Metadata, timeout: float, retry: RetryOptions | None
    ) -> None:
        self.timing = Timing()
        self._stubs = _Stubs(channel)
        self._metadata = metadata
        self._timeout = positive_seconds("timeout", timeout)
        self._retry = retry or RetryOptions()

    def _seconds(self, call: Call[Any]) -> float:
        return self._timeout if call.timeout is None else positive_seconds("timeout", call.timeout)

    def _close(self) -> None:
        self._stubs = _Stubs(_closed)


class Runner(_Base):
    """Executes calls and returns their results. Threads may share it."""

    def __init__(
        self, channel: grpc.Channel, *, metadata: Metadata, timeout: float, retry: RetryOptions | None, owned: bool
    ) -> None:
        super().__init__(lambda: channel, metadata, timeout, retry)
        self.sleep: Callable[[float], None] = time.sleep
        self._owned_channel = channel if owned else None

    def run(self, call: Call[Result], /) -> Result:
        """Execute a call."""
        method = self._stubs[call.rpc]
        now = self.timing.now
        timeout = self._seconds(call)
        deadline = now() + timeout
        attempts: Attempts | None = None
        while True:
            try:
                response = method(call.request, timeout=timeout, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error, call.request)
                attempts = attempts or Attempts(self._retry, self.timing, deadline)
                pause = attempts.pause_after(failure)
                if pause is None:
                    raise failure from error
            else:
                return call.read(response)
            self.sleep(pause)
            timeout = deadline - now()

    def close(self) -> None:
        """Close the channel, unless the caller opened it."""
        self._close()
        if self._owned_channel is not None:
            self._owned_channel.close()


class AsyncRunner(_Base):
    """Executes calls on one event loop."""

    def __init__(
        self,
        open_channel: Callable[[], grpc.aio.Channel],
        *,
        metadata: Metadata,
        timeout: float,
        retry: RetryOptions | None,
        owned: bool,
    ) -> None:
        super().__init__(self._channel, metadata, timeout, retry)
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
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
        method = self._stubs[call.rpc]
        now = self.timing.now
        timeout = self._seconds(call)
        deadline = now() + timeout
        attempts: Attempts | None = None
        while True:
            try:
                response = await method(call.request, timeout=timeout, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error, call.request)
                attempts = attempts or Attempts(self._retry, self.timing, deadline)
                pause = attempts.pause_after(failure)
                if pause is None:
                    raise failure from error
            else:
                return call.read(response)
            await self.sleep(pause)
            timeout = deadline - now()

    async def close(self) -> None:
        """Close the channel, unless the caller opened it."""
        self._close()
        if self._owned and self._opened is not None:
            await self._opened.close()
