"""The way of a call over HTTP: finds its method, reads its request, hands it in, and answers it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from registrar.v1.history_service_pb2 import WatchEventsRequest
from registrar_server.errors import FieldViolation, invalid_fields
from registrar_server.http import answers
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.bodies import check_content_type, read_body
from registrar_server.http.connection_limits import peer
from registrar_server.http.event_streams import EVENT_STREAM, EventStream, resume
from registrar_server.http.json_requests import read_request
from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.http.request_targets import refuse_credentials
from registrar_server.http.routes import Match, Router
from registrar_server.identity.credentials import AUTHORIZATION, ON_BEHALF_OF, Credentials, read_credentials
from registrar_server.rpc import status
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_requests import Batch
from registrar_server.rpc.endpoint import Entrance, name_caller
from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.methods import Change, Watch
from registrar_server.settings import seconds

DEFAULT_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 3600.0
LARGE_REQUEST_BYTES = 16_384
"""A body and query of more bytes are read in a thread, so that the event loop goes on meanwhile."""
_OF_CALLER = frozenset({AUTHORIZATION.encode(), ON_BEHALF_OF.encode()})
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Caller:
    """The caller of a call over HTTP, with what gRPC's context tells of one over gRPC."""

    __slots__ = ("_peer", "deadline")

    def __init__(self, scope: Scope) -> None:
        self._peer = peer(scope.get("client"))
        self.deadline = math.inf

    def peer(self) -> str:
        """Return the address of the caller."""
        return self._peer

    def time_remaining(self) -> float:
        """Return the seconds until the deadline of the call."""
        return self.deadline - asyncio.get_running_loop().time()


class Transcoder:
    """An ASGI application that answers each request as the method of its route does."""

    def __init__(self, router: Router, entrance: Entrance, *, slow_call: float, max_bytes: int) -> None:
        self._router = router
        self._intake, self._watchers, self._identity = entrance
        self._slow_call = slow_call
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. If its connection is lost, its task is cancelled: a call that waits is dropped."""
        match = self._router.find(scope["method"], scope["raw_path"])
        if isinstance(match.route.method, Watch):
            await self._stream(match, scope, send)
            return
        answer = await self._answer(match, scope, receive)
        await answer.send(send)

    async def _answer(self, match: Match, scope: Scope, receive: Receive) -> HttpAnswer:
        headers, caller = _headers(scope), Caller(scope)
        if scope["method"] in WITH_BODY:
            check_content_type(headers)
        arrival = Arrival(match.route.method, b"", caller, self._slow_call)
        await self._name_caller(arrival, caller, scope, headers, DEFAULT_TIMEOUT_S)
        if not arrival.is_over:
            begun = time.perf_counter()
            body = await read_body(headers, receive, self._max_bytes)
            arrival.leave_out(time.perf_counter() - begun)
            await self._call(arrival, caller, match, scope["query_string"], headers, body)
        if arrival.refused is not None:
            return answers.of_status(arrival.refused.message)
        return answers.of_response(arrival.method, arrival.response)

    async def _stream(self, match: Match, scope: Scope, send: Send) -> None:
        """Answer with a stream, which has no deadline unless its caller sets one."""
        if scope["http_version"] == "1.0" or scope["method"] == "HEAD":
            raise HttpRefusal(HttpReason.METHOD_NOT_ALLOWED, "A stream needs GET of HTTP/1.1.", {"allow": "GET"})
        headers, caller = _headers(scope), Caller(scope)
        arrival = Arrival(match.route.method, b"", caller, math.inf)
        credentials = await self._name_caller(arrival, caller, scope, headers, math.inf)
        stream = EventStream(send)
        try:
            if not arrival.is_over:
                async with asyncio.timeout_at(caller.deadline if caller.deadline < math.inf else None):
                    await self._watch(arrival, credentials, match, scope["query_string"], headers, stream)
        except TimeoutError:
            arrival.leave()
            arrival.refused = status.of_late_answer(changes=False)
        except asyncio.CancelledError:
            arrival.leave()
            raise
        finally:
            stream.leave()
        assert arrival.refused is not None
        refused = arrival.refused.message
        await (stream.fail(refused) if stream.has_begun else answers.of_status(refused).send(send))

    async def _watch(
        self,
        arrival: Arrival,
        credentials: Credentials,
        match: Match,
        query: bytes,
        headers: Mapping[str, str],
        stream: EventStream,
    ) -> None:
        try:
            request = read_request(match, query, headers, b"")
            assert isinstance(request, WatchEventsRequest)
            resume(request, headers)
            arrival.data = request.SerializeToString()
        except Exception as error:
            arrival.end(error)
        else:
            await self._watchers.serve(arrival, credentials, EVENT_STREAM, stream.send)

    async def _name_caller(
        self, arrival: Arrival, caller: Caller, scope: Scope, headers: Mapping[str, str], default_timeout: float
    ) -> Credentials:
        """Find out who calls, before the body arrives; if that fails, the refusal is the outcome of the call."""
        credentials = read_credentials(_of_caller(scope))
        try:
            caller.deadline = asyncio.get_running_loop().time() + _timeout(headers, default_timeout)
            refuse_credentials(scope["query_string"])
            await name_caller(arrival, self._identity, credentials)
        except asyncio.CancelledError:
            arrival.leave()
            raise
        except Exception as error:
            arrival.end(error)
        return credentials

    async def _call(
        self, arrival: Arrival, caller: Caller, match: Match, query: bytes, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Read the request and carry the call out; ``arrival`` gets the outcome."""
        try:
            async with asyncio.timeout_at(caller.deadline):
                arguments = (match, query, headers, body)
                large = len(body) + len(query) > LARGE_REQUEST_BYTES
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


def _of_caller(scope: Scope) -> list[tuple[str, str]]:
    """Return the headers that say who calls. One that is repeated must not become one value with commas."""
    return [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"] if name in _OF_CALLER]


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by their names in lower case. Commas separate the values of a header that is repeated."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}


def _timeout(headers: Mapping[str, str], default: float) -> float:
    value = headers.get("registrar-timeout")
    if value is None:
        return default
    try:
        found: float = seconds(value)
    except ValueError:
        found = 0.0
    if not 0 < found <= MAX_TIMEOUT_S:
        expected = f"must be a duration of more than 0s and at most 1h, such as 500ms, 5s or 2m, not {shown(value)}"
        raise invalid_fields([FieldViolation("Registrar-Timeout", expected)])
    return found
