"""The way of a call over HTTP: finds its method, reads its request, hands it in, and answers it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from registrar_server.errors import FieldViolation, invalid_fields
from registrar_server.http import answers
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.bodies import check_content_type, read_body
from registrar_server.http.connection_limits import peer
from registrar_server.http.json_requests import read_request
from registrar_server.http.request_targets import refuse_credentials
from registrar_server.http.routes import Match, Router
from registrar_server.identity.credentials import AUTHORIZATION, ON_BEHALF_OF, read_credentials
from registrar_server.identity.identity import Identity
from registrar_server.rpc import status
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_requests import Batch
from registrar_server.rpc.endpoint import Intake, name_caller
from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.methods import Change
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
        self.deadline = asyncio.get_running_loop().time() + DEFAULT_TIMEOUT_S

    def peer(self) -> str:
        """Return the address of the caller."""
        return self._peer

    def time_remaining(self) -> float:
        """Return the seconds until the deadline of the call."""
        return self.deadline - asyncio.get_running_loop().time()


class Transcoder:
    """An ASGI application that answers each request as the method of its route does."""

    def __init__(self, router: Router, intake: Intake, identity: Identity, *, slow_call: float, max_bytes: int) -> None:
        self._router = router
        self._intake = intake
        self._identity = identity
        self._slow_call = slow_call
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. If its connection is lost, its task is cancelled: a call that waits is dropped."""
        answer = await self._answer(scope, receive)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer:
        headers, caller = _headers(scope), Caller(scope)
        match = self._router.find(scope["method"], scope["raw_path"])
        if scope["method"] in WITH_BODY:
            check_content_type(headers)
        arrival = Arrival(match.route.method, b"", caller, self._slow_call)
        await self._name_caller(arrival, caller, scope, headers)
        if not arrival.is_over:
            begun = time.perf_counter()
            body = await read_body(headers, receive, self._max_bytes)
            arrival.leave_out(time.perf_counter() - begun)
            await self._call(arrival, caller, match, scope["query_string"], headers, body)
        if arrival.refused is not None:
            return answers.of_status(arrival.refused.message)
        return answers.of_response(arrival.method, arrival.response)

    async def _name_caller(self, arrival: Arrival, caller: Caller, scope: Scope, headers: Mapping[str, str]) -> None:
        """Find out who calls, before the body arrives; if that fails, the refusal is the outcome of the call."""
        try:
            caller.deadline += _timeout(headers) - DEFAULT_TIMEOUT_S
            refuse_credentials(scope["query_string"])
            await name_caller(arrival, self._identity, read_credentials(_of_caller(scope)))
        except asyncio.CancelledError:
            arrival.leave()
            raise
        except Exception as error:
            arrival.end(error)

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


def _timeout(headers: Mapping[str, str]) -> float:
    value = headers.get("registrar-timeout")
    if value is None:
        return DEFAULT_TIMEOUT_S
    try:
        found: float = seconds(value)
    except ValueError:
        found = 0.0
    if not 0 < found <= MAX_TIMEOUT_S:
        expected = f"must be a duration of more than 0s and at most 1h, such as 500ms, 5s or 2m, not {shown(value)}"
        raise invalid_fields([FieldViolation("Registrar-Timeout", expected)])
    return found
