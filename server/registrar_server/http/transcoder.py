"""The way of a call over HTTP: finds its method, reads its request, hands it in, and answers it."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from registrar_server.http import answers
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.event_streams import EventStreams
from registrar_server.http.incoming import Incoming, incoming
from registrar_server.http.json_requests import read_request
from registrar_server.http.routes import Match, Router
from registrar_server.rpc import status
from registrar_server.rpc.batch_requests import Batch
from registrar_server.rpc.endpoint import Entrance
from registrar_server.rpc.methods import Change, Watch

DEFAULT_TIMEOUT_S = 30.0
LARGE_REQUEST_BYTES = 16_384
"""A body and query of more bytes are read in a thread, so that the event loop goes on meanwhile."""


class Transcoder:
    """An ASGI application that answers each request as the method of its route does."""

    def __init__(self, router: Router, entrance: Entrance, *, slow_call: float, max_bytes: int) -> None:
        self._router = router
        self._intake, watchers, self._identity = entrance
        self._streams = EventStreams(watchers, self._identity, max_bytes)
        self._slow_call = slow_call
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. If its connection is lost, its task is cancelled: a call that waits is dropped."""
        match = self._router.find(scope["method"], scope["raw_path"])
        if isinstance(match.route.method, Watch):
            await self._streams.answer(match, scope, receive, send)
            return
        answer = await self._answer(match, scope, receive)
        await answer.send(send)

    async def _answer(self, match: Match, scope: Scope, receive: Receive) -> HttpAnswer:
        call = incoming(match, scope, self._slow_call)
        await call.name_caller(self._identity, DEFAULT_TIMEOUT_S)
        arrival = call.arrival
        if not arrival.is_over:
            body = await call.read_body(receive, self._max_bytes)
            await self._call(call, body)
        if arrival.refused is not None:
            return answers.of_status(arrival.refused.message)
        return answers.of_response(arrival.method, arrival.response)

    async def _call(self, call: Incoming, body: bytes) -> None:
        """Read the request and carry the call out; its ``arrival`` gets the outcome."""
        arrival = call.arrival
        try:
            async with asyncio.timeout_at(call.caller.deadline):
                arguments = (call.match, call.query, call.headers, body)
                large = len(body) + len(call.query) > LARGE_REQUEST_BYTES
                request = await asyncio.to_thread(read_request, *arguments) if large else read_request(*arguments)
                arrival.data = request.SerializeToString()
                self._intake.take(arrival)
                await arrival.wait()
        except TimeoutError:
            if not arrival.is_over:
                may_have_begun = arrival.leave()
                changes = isinstance(arrival.method, Change | Batch)
                arrival.refused = status.of_late_answer(changes=changes) if may_have_begun else status.of_deadline()
        except asyncio.CancelledError:
            arrival.leave()
            raise
        except Exception as error:
            arrival.end(error)
