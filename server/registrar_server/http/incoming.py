"""A call as it comes over HTTP: the parts of its request, who makes it, and its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

from starlette.types import Receive, Scope

from registrar_server.errors import FieldViolation, invalid_fields
from registrar_server.http.bodies import check_content_type, read_body
from registrar_server.http.connection_limits import peer
from registrar_server.http.request_targets import refuse_credentials
from registrar_server.http.routes import Match
from registrar_server.identity.credentials import AUTHORIZATION, ON_BEHALF_OF, Credentials, read_credentials
from registrar_server.identity.identity import Identity
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.endpoint import name_caller
from registrar_server.rpc.id_rule import shown
from registrar_server.settings import seconds

MAX_TIMEOUT_S = 3600.0
_OF_CALLER = frozenset({AUTHORIZATION.encode(), ON_BEHALF_OF.encode()})
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Caller:
    """The caller of a call over HTTP, with what gRPC's context tells of one over gRPC."""

    __slots__ = ("_peer", "deadline")

    def __init__(self, scope: Scope) -> None:
        self._peer = peer(scope.get("client"))
        self.deadline: float | None = None

    def peer(self) -> str:
        """Return the address of the caller."""
        return self._peer

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call, or None if it has none."""
        return None if self.deadline is None else self.deadline - asyncio.get_running_loop().time()


class Incoming(NamedTuple):
    """A call, and the parts of its request."""

    arrival: Arrival
    caller: Caller
    credentials: Credentials
    match: Match
    query: bytes
    headers: Mapping[str, str]

    async def name_caller(self, identity: Identity, default_timeout: float | None) -> None:
        """Find out who calls, before the body arrives; if that fails, the refusal is the outcome of the call.

        The call has no deadline if there is no default either.
        """
        try:
            timeout = _timeout(self.headers, default_timeout)
            if timeout is not None:
                self.caller.deadline = asyncio.get_running_loop().time() + timeout
            refuse_credentials(self.query)
            await name_caller(self.arrival, identity, self.credentials)
        except asyncio.CancelledError:
            self.arrival.leave()
            raise
        except Exception as error:
            self.arrival.end(error)

    async def read_body(self, receive: Receive, max_bytes: int) -> bytes:
        """Return the body of the request. The log leaves the time out in which the server waits for it."""
        begun = time.perf_counter()
        body = await read_body(self.headers, receive, max_bytes)
        self.arrival.leave_out(time.perf_counter() - begun)
        return body


def incoming(match: Match, scope: Scope, slow_call: float) -> Incoming:
    """Return the call of a request. Raises ``HttpRefusal`` if its body would be of a wrong type."""
    headers, caller = _headers(scope), Caller(scope)
    if scope["method"] in WITH_BODY:
        check_content_type(headers)
    arrival = Arrival(match.route.method, b"", caller, slow_call)
    return Incoming(arrival, caller, read_credentials(_of_caller(scope)), match, scope["query_string"], headers)


def _of_caller(scope: Scope) -> list[tuple[str, str]]:
    """Return the headers that say who calls. One that is repeated must not become one value with commas."""
    return [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"] if name in _OF_CALLER]


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers by their names in lower case. Commas separate the values of a header that is repeated."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in found.items()}


def _timeout(headers: Mapping[str, str], default: float | None) -> float | None:
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
