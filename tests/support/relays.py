"""A relay between a client and a server. It counts calls, and a test can hold, refuse or change those of one RPC.

Streams pass through, unless a test cuts them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import grpc

from tests.support.servers import FREE_PORT, OPTIONS

FORWARDED = ("authorization", "registrar-on-behalf-of")
STREAMS = ("WatchEvents",)

Context = grpc.aio.ServicerContext[bytes, bytes]
Forward = Callable[[], Awaitable[bytes]]
Answer = Callable[[Forward, Context], Awaitable[bytes]]
"""Answers a call. The first argument forwards the call to the server and returns the response of the server."""


async def pass_on(forward: Forward, _context: Context) -> bytes:
    """Answer as the server does."""
    return await forward()


class Cut(NamedTuple):
    """How the relay ends a stream."""

    responses: int
    """It does so after this number of responses."""
    status: grpc.StatusCode | None
    """With this status; None means that it says nothing more and does not end the stream."""


class Relay(grpc.GenericRpcHandler):
    """Forwards all calls to a server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.calls: list[str] = []
        """The names of the RPCs of all calls so far."""
        self.answers: dict[str, Answer] = {}
        """How to answer the calls of an RPC, by its name."""
        self.cuts: deque[Cut] = deque()
        """How to end the next streams."""
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = str(handler_call_details.method)
        rpc = path.rpartition("/")[2]
        if rpc in STREAMS:
            return self._streaming(path, rpc)
        send: Any = self._channel.unary_unary(path)

        async def answer(data: bytes, context: Context) -> bytes:
            self.calls.append(rpc)

            async def forward() -> bytes:
                response: bytes = await send(data, timeout=context.time_remaining(), metadata=_forwarded(context))
                return response

            try:
                return await self.answers.get(rpc, pass_on)(forward, context)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata()))
            raise AssertionError("abort returned")

        return grpc.unary_unary_rpc_method_handler(answer)

    def _streaming(self, path: str, rpc: str) -> grpc.RpcMethodHandler[Any, Any]:
        send: Any = self._channel.unary_stream(path)

        async def answer(data: bytes, context: Context) -> AsyncIterator[bytes]:
            self.calls.append(rpc)
            cut = self.cuts.popleft() if self.cuts else None
            responses = send(data, metadata=_forwarded(context))
            sent = 0
            try:
                while cut is None or sent < cut.responses:
                    yield await anext(aiter(responses))
                    sent += 1
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata()))
            finally:
                responses.cancel()
            if cut.status is None:
                await asyncio.Event().wait()
            elif cut.status is not grpc.StatusCode.OK:
                await context.abort(cut.status, "The relay has ended the stream.")

        return grpc.unary_stream_rpc_method_handler(answer)


def _forwarded(context: Context) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in context.invocation_metadata() or () if name in FORWARDED]


class Held:
    """Holds calls until they are released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.arrived = asyncio.Semaphore(0)
        """Is released once for each held call."""
        self.cancelled = asyncio.Event()
        """Is set when the caller cancels a held call."""

    async def __call__(self, forward: Forward, _context: Context) -> bytes:
        self.arrived.release()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await forward()


@contextlib.asynccontextmanager
async def relay_to(address: str) -> AsyncIterator[Relay]:
    """Run a relay in front of a server, in this event loop."""
    async with grpc.aio.insecure_channel(address, OPTIONS) as channel:
        relay = Relay(channel)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((relay,))
        relay.address = f"127.0.0.1:{server.add_insecure_port(FREE_PORT)}"
        await server.start()
        try:
            yield relay
        finally:
            await server.stop(None)
