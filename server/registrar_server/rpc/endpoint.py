"""The handlers of gRPC: from bytes to bytes, or to a status. Nothing else aborts a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.grpc_log import note_response
from registrar_server.rpc.intake import Intake
from registrar_server.rpc.methods import Method

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]


class Endpoints:
    """Makes the handlers of methods. A call that takes longer than ``slow_call`` seconds is logged as slow."""

    def __init__(self, intake: Intake, slow_call: float) -> None:
        self._intake = intake
        self._slow_call = slow_call

    def handler(self, method: Method) -> Handler:
        """Return the handler of a method: it hands the bytes in and waits for the outcome."""
        intake, slow_call = self._intake, self._slow_call

        async def handle(data: bytes, context: Context) -> bytes:
            arrival = Arrival(method, data, context, slow_call)
            intake.take(arrival)
            try:
                await arrival.ended
            except asyncio.CancelledError:
                arrival.leave()
                raise
            if arrival.refused is None:
                note_response(arrival.response)
                return arrival.response
            try:
                await context.abort_with_status(arrival.refused)  # type: ignore[arg-type]  # It has grpc.Status's attributes.
            finally:
                # gRPC keeps the error that this raises in the context, and its traceback keeps this frame. With the
                # context among the frame's variables, the call and its request would stay in memory until a garbage
                # collection.
                del data, context, arrival
            raise AssertionError("abort_with_status returned")

        return handle
