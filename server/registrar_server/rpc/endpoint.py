"""The endpoint of every call: gathers the calls that arrive together, hands them in, and answers each of them.

Calls wait until some turns of the event loop bring no new call. Work on many calls at once, and answers that leave
together, cost much less (``docs/architecture.md``, "Why bursts"). Nothing waits for a timer: an idle loop takes a few
microseconds for a turn. A caller who is alone does not wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc

from registrar_server.identity.callers import ANYONE
from registrar_server.identity.credentials import Credentials, read_credentials
from registrar_server.identity.identity import Identity
from registrar_server.rpc.access import check_role
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.grpc_log import note_response
from registrar_server.rpc.methods import Method, Watch
from registrar_server.rpc.watch_forms import GRPC
from registrar_server.rpc.watchers import Watchers

Context = grpc.aio.ServicerContext[bytes, bytes]
Metadata = Sequence[tuple[str, str | bytes]]
Handle = Callable[[Metadata, bytes, Context], Awaitable[Any]]


QUIET_TURNS = 32
"""After so many turns of the event loop without a new call, the gathered calls are opened."""
MAX_GATHERED = 256
"""The most calls that are opened together."""
MAX_WAIT_S = 0.02
"""How long a call may wait for others, if they never stop arriving."""
_NAME_KINDS = (("peer_dns", "DNS:"), ("peer_uri", "URI:"), ("peer_ip", "IP:"), ("peer_email", "email:"))
"""Where gRPC has the subject alternative names of each kind."""

ALONE = 8
"""After so many calls in a row that met no other call, their caller is taken to be alone."""


class Intake:
    """Gathers calls and gives them to ``open_all``, all that have gathered at once. Tests may inject the clock."""

    def __init__(
        self, open_all: Callable[[Sequence[Arrival]], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_all = open_all
        self._clock = clock
        self._due = 0.0
        """When the gathered calls are opened at the latest."""
        self._gathered: list[Arrival] = []
        self._last: Arrival | None = None
        """The last of the opened calls."""
        self._met_nobody = 0
        """How many calls in a row have met no other call."""

    def take(self, arrival: Arrival) -> None:
        """Take a call; it is opened in one of the next turns of the event loop."""
        self._gathered.append(arrival)
        if len(self._gathered) == 1:
            self._due = self._clock() + MAX_WAIT_S
            asyncio.get_running_loop().call_soon(self._look, 1, self._patience())

    def _patience(self) -> int:
        if self._last is not None and not self._last.is_over:
            self._met_nobody = 0
        return 1 if self._met_nobody >= ALONE else QUIET_TURNS

    def _look(self, seen: int, turns_left: int) -> None:
        """Open the calls if the last turns of the loop brought no new one, or if they have waited long enough."""
        count = len(self._gathered)
        if count > seen:
            turns_left = QUIET_TURNS
        if turns_left > 1 and count < MAX_GATHERED and self._clock() < self._due:
            asyncio.get_running_loop().call_soon(self._look, count, turns_left - 1)
            return
        gathered, self._gathered = self._gathered[:MAX_GATHERED], self._gathered[MAX_GATHERED:]
        self._met_nobody = self._met_nobody + 1 if count == 1 else 0
        self._last = gathered[-1]
        if self._gathered:
            asyncio.get_running_loop().call_soon(self._look, len(self._gathered), 1)
        self._open_all(gathered)


async def name_caller(arrival: Arrival, identity: Identity, credentials: Credentials) -> None:
    """Find the caller of a call, before anything of its request is read.

    If there is none, or if the caller may make no such call, the refusal is the outcome of the call.
    """
    try:
        caller = identity.recall(credentials)
        if caller is None:
            async with asyncio.timeout(arrival.time_remaining()):
                caller = await identity.identify(credentials)
        arrival.caller = caller  # The log names the caller, also of a call that the next lines refuse.
        arrival.caller = credentials.on_behalf(caller)
        if arrival.caller is not ANYONE:
            check_role(arrival.caller, arrival.method.name)
    except Exception as error:
        arrival.end(error)


class _CallHandler(grpc.RpcMethodHandler):  # type: ignore[type-arg]  # It is generic in the stubs only.
    """What gRPC asks of the handler of one call; quicker to make than gRPC's own."""

    request_streaming = response_streaming = False
    request_deserializer = response_serializer = None
    unary_stream = stream_unary = stream_stream = None

    def __init__(self, unary_unary: Callable[[bytes, Context], Awaitable[bytes]]) -> None:
        self.unary_unary: Any = unary_unary


class _StreamHandler(grpc.RpcMethodHandler):  # type: ignore[type-arg]  # It is generic in the stubs only.
    """The same for a call that is answered with a stream, which the function writes into the context."""

    request_streaming, response_streaming = False, True
    request_deserializer = response_serializer = None
    unary_unary = stream_unary = stream_stream = None

    def __init__(self, unary_stream: Callable[[bytes, Context], Awaitable[None]]) -> None:
        self.unary_stream: Any = unary_stream


class Handler(NamedTuple):
    """What handles the calls of an RPC, and the kind of handler that gRPC gets for each call."""

    handle: Handle
    of_call: Callable[[Any], grpc.RpcMethodHandler[bytes, bytes]] = _CallHandler


class MethodHandlers(grpc.GenericRpcHandler):
    """Gives gRPC the handler of each call, with the metadata of the call.

    gRPC has read the metadata by then. The context would read all of it again, which takes longer than all else that
    finding the caller takes.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Take the handlers by the paths of their RPCs."""
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return the handler of a call, or None if there is none."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is None:
            return None
        return handler.of_call(partial(handler.handle, handler_call_details.invocation_metadata))


def credentials_of(metadata: Metadata, context: Context) -> Credentials:
    """Return the credentials of a call."""
    names = partial(_certificate_names, context)
    return read_credentials(metadata, names)  # type: ignore[arg-type]  # Only the values of names in -bin are bytes.


def _certificate_names(context: Context) -> list[str] | None:
    """Return the subject alternative names in the certificate of the client, or None if it has no certificate."""
    peer = context.auth_context()
    if "x509_pem_cert" not in peer:
        return None
    return [kind + name.decode(errors="replace") for key, kind in _NAME_KINDS for name in peer.get(key, ())]


class Entrance(NamedTuple):
    """What takes the calls, whether they come over gRPC or over HTTP."""

    intake: Intake
    watchers: Watchers
    identity: Identity


class Endpoints:
    """Makes gRPC's handlers of methods. A call that takes longer than ``slow_call`` seconds is logged as slow.

    Nothing else aborts a call.
    """

    def __init__(self, entrance: Entrance, slow_call: float) -> None:
        self._entrance = entrance
        self._slow_call = slow_call

    def handler(self, method: Method) -> Handler:
        """Return the handler of a method."""
        if isinstance(method, Watch):
            return Handler(self._streaming(method), _StreamHandler)
        return Handler(self._answering(method))

    def _answering(self, method: Method) -> Handle:
        """Return what hands the bytes of a call in and waits for the outcome."""
        intake, _, identity = self._entrance
        slow_call = self._slow_call

        async def handle(metadata: Metadata, data: bytes, context: Context) -> bytes:
            arrival = Arrival(method, data, context, slow_call)
            try:
                await name_caller(arrival, identity, credentials_of(metadata, context))
                if not arrival.is_over:
                    intake.take(arrival)
                await arrival.wait()
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

    def _streaming(self, method: Watch) -> Handle:
        """Return what streams events to a caller until the stream is refused; a stream is never slow."""
        _, watchers, identity = self._entrance

        async def handle(metadata: Metadata, data: bytes, context: Context) -> None:
            arrival = Arrival(method, data, context, math.inf)
            arrival.keep_peer()
            try:
                credentials = credentials_of(metadata, context)
                await name_caller(arrival, identity, credentials)
                if not arrival.is_over:
                    await watchers.serve(arrival, credentials, GRPC, context.write)
            except asyncio.CancelledError:
                arrival.leave()
                raise
            try:
                await context.abort_with_status(arrival.refused)  # type: ignore[arg-type]  # As above.
            finally:
                del (
                    data,
                    context,
                    arrival,
                    credentials,
                )  # As above: the credentials read the certificate of the context.

        return handle
