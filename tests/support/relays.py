"""A relay between a client and a server. It counts calls, and a test can hold, refuse or change those of one RPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from tests.support.servers import FREE_PORT, OPTIONS

FORWARDED = ("authorization", "registrar-on-behalf-of")

Context = grpc.aio.ServicerContext[bytes, bytes]
Forward = Callable[[], Awaitable[bytes]]
Answer = Callable[[Forward, Context], Awaitable[bytes]]
"""Answers a call. The first argument forwards the call to the server and returns the response of the server."""


async def pass_on(forward: Forward, _context: Context) -> bytes:
    """Answer as the server does."""
    return await forward()


class Relay(grpc.GenericRpcHandler):
    """Forwards all calls to a server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.calls: list[str] = []
        """The names of the RPCs of all calls so far."""
        self.answers: dict[str, Answer] = {}
        """How to answer the calls of an RPC, by its name."""
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = str(handler_call_details.method)
        rpc = path.rpartition("/")[2]
        send: Any = self._channel.unary_unary(path)

        async def answer(data: bytes, context: Context) -> bytes:
            self.calls.append(rpc)

            async def forward() -> bytes:
                headers = [(name, value) for name, value in context.invocation_metadata() or () if name in FORWARDED]
                response: bytes = await send(data, timeout=context.time_remaining(), metadata=headers)
                return response

            try:
                return await self.answers.get(rpc, pass_on)(forward, context)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata()))
            raise AssertionError("abort returned")

        return grpc.unary_unary_rpc_method_handler(answer)


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
