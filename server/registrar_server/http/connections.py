"""The connections of the HTTP listener: uvicorn's protocol, with answers in JSON and with limits."""

from __future__ import annotations

import asyncio

import httptools
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from registrar_server.http import answers, request_heads
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.connection_limits import Connections, Outlet, Unsent, expect_acknowledgements, peer
from registrar_server.http.raw_answers import InOnePiece, raw_answer
from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.http.request_targets import replace_host

MAX_WAITING = 100
"""How many requests of a connection may wait for the answers to those before them."""

log = structlog.get_logger()


class Connection(HttpToolsProtocol):
    """A connection of a client.

    Requests that arrive together are answered one after the other. If a request breaks the rules of HTTP, it gets the
    last answer, and what follows it is not read.
    """

    server_state: Connections
    cycle: RequestResponseCycle | None  # type: ignore[assignment]
    """The last request. uvicorn leaves out that there is none at first."""

    def __init__(self, config: Config, server_state: Connections) -> None:
        super().__init__(config, server_state, {})
        self._raw: asyncio.Transport = None  # type: ignore[assignment]  # As in uvicorn: ``connection_made`` sets it.
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; the others wait in ``pipeline``."""
        self._task: asyncio.Task[None] | None = None
        self._unread = 0
        """How many bytes came since the parser last found the end of a head or a piece of a body."""
        self._head_since = 0.0
        """When the first byte of a head came that is not complete; 0 if there is no such head."""
        self._idle_since = self.loop.time()
        self._idle_limit = server_state.patience.head
        self._ignores = False
        """Whether everything that the client still sends is ignored."""
        self._last_words = b""
        """The answer to the request that broke the rules, while the requests before it are being answered."""
        self._left_at = 0.0
        """When the last answer was sent; 0 before."""
        self._unsent = Unsent()

    # What the transport calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve the client, or refuse it if there are too many others or the server is stopping."""
        super().connection_made(transport)
        self._raw = transport
        expect_acknowledgements(transport, self.server_state.patience.unacknowledged)
        self.transport = Outlet(transport.write, self.leave, self.is_closing)  # type: ignore[assignment]
        if self.server_state.is_stopping:
            self._reject(*answers.of_stop())
        elif len(self.connections) > self.server_state.maximum:
            self._reject(*answers.of_crowd())

    def data_received(self, data: bytes) -> None:
        """Read a part of a request, or of several."""
        if self._ignores:
            return
        self._unread += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._read_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._ignores:
                self._refuse(request_heads.malformed("The request is not valid HTTP/1.1."))
        if self._unread > request_heads.MAX_HEAD_BYTES and not self._ignores:
            self._refuse(request_heads.head_too_large())

    def _read_without_upgrade(self, data: bytes) -> None:
        """Read the body of a request as if its head had not asked for another protocol, and nothing behind it.

        The parser itself ends such a request after its head.
        """
        assert self.cycle
        self.cycle.keep_alive = False
        self.parser = httptools.HttpRequestParser(request_heads.BodyEvents(self.on_body, self.on_last_message_complete))
        self.parser.feed_data(request_heads.head_of_body(self.headers) + data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the call whose answer nobody can receive any more, and drop the others.

        Requests refer to their connection. Without the references back, they leave memory at once.
        """
        self.transport = self._raw
        super().connection_lost(exc)
        self._give_up()
        self.pipeline.clear()
        self.cycle = None
        self.scope = self.headers = None  # type: ignore[assignment]
        self.server_state.changed.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but not one that follows the body: the request may be under way by then."""
        if self._head_since:
            super().on_header(name, value.rstrip(b" \t"))  # The parser leaves the blanks behind a value.

    def on_headers_complete(self) -> None:
        """Hand the request to the application, or refuse it."""
        self._head_since, self._unread = 0.0, 0
        if len(self.pipeline) >= MAX_WAITING:
            # The client learns from the last of these answers which of its requests it has to repeat.
            self._ignores, self.pipeline[0][0].keep_alive = True, False
            raise request_heads.EnoughError
        version, method = self.parser.get_http_version(), self.parser.get_method()
        fault = request_heads.fault_of_head(version, method, self.url, self.headers)
        if fault:
            self._refuse(fault, is_head=method == b"HEAD")
            raise request_heads.EnoughError
        if not self.url.startswith(b"/"):
            replace_host(self.headers, self.url)
        if version == "1.0":
            self.app = InOnePiece(self.config.loaded_app)
            self.expect_100_continue = False  # HTTP/1.0 has no such answer.
        super().on_headers_complete()
        if self.server_state.is_stopping and self.cycle:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._unread = 0
        if not self.parser.should_upgrade():  # Otherwise the body follows, if there is one.
            super().on_message_complete()

    def on_last_message_complete(self) -> None:
        """End a request, and ignore what follows."""
        self.on_message_complete()
        self._ignores = True
        raise request_heads.EnoughError

    # What the requests call.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._task = self.loop.create_task(cycle.run_asgi(app))

    def on_response_complete(self) -> None:
        """Answer the next request that waits, or wait for one."""
        self._running = self._task = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words:
            self._speak_last()
        else:
            self._idle_since, self._idle_limit = self.loop.time(), self.server_state.patience.idle

    def leave(self) -> None:
        """Close the connection. A client that still sends gets some time to read its answer first.

        Closing a connection with unread input resets it, and the client may lose the answer.
        """
        is_sending = self._ignores or self.pipeline or self._reading
        if not is_sending:
            self._raw.close()
        elif not self._left_at:
            self._ignores, self._left_at = True, self.loop.time()
            self.server_state.changed.set()
            self.flow.resume_reading()
            if self._raw.can_write_eof():
                self._raw.write_eof()

    @property
    def _reading(self) -> RequestResponseCycle | None:
        """The request whose body is not complete, if there is one."""
        return self.cycle if self.cycle is not None and self.cycle.more_body else None

    @property
    def has_left(self) -> bool:
        """Whether the last answer is sent, and only the client may still send something."""
        return bool(self._left_at) and self._raw.get_write_buffer_size() == 0

    def is_closing(self) -> bool:
        """Return whether nothing more can be sent."""
        return bool(self._left_at) or self._raw.is_closing()

    # What the listener calls.

    @property
    def is_idle(self) -> bool:
        """Whether there is no request."""
        return not (self._head_since or self._running or self._reading)

    def shutdown(self) -> None:
        """Close the connection after the answers to its complete requests; refuse one that is not complete."""
        if self._ignores:
            return
        if self._head_since or (self._reading and not self._reading.response_complete):
            self._refuse_with(*answers.of_stop())
        elif self._running and self.cycle:
            self.cycle.keep_alive = False
        else:
            self._raw.close()

    def abort(self) -> None:
        """Cut the client off."""
        self._raw.abort()

    def check(self, now: float) -> None:
        """Close the connection if its client has let the server wait for too long."""
        patience = self.server_state.patience
        if self._unsent.since(now, self._raw.get_write_buffer_size()) < now - patience.unread:
            log.info("http_cut_off", peer=peer(self.client))
            self._raw.abort()
        elif self._left_at:
            if now - self._left_at > patience.linger:
                self._raw.close()
        elif self._head_since:
            self._check_head(now, patience.head)
        elif not self._running and now - self._idle_since > (patience.linger if self._reading else self._idle_limit):
            self._raw.close()

    def _check_head(self, now: float, limit: float) -> None:
        if self.flow.read_paused:  # The server itself does not read on, because it answers an earlier request.
            self._head_since = now
        elif now - self._head_since > limit:
            message = f"The headers did not arrive within {limit:g} seconds."
            self._refuse(HttpRefusal(HttpReason.REQUEST_TOO_SLOW, message))

    # Refusals of requests that the application never sees.

    def _refuse(self, refusal: HttpRefusal, *, is_head: bool = False) -> None:
        self._refuse_with(answers.of_refusal(refusal), refusal.reason, is_head=is_head)

    def _refuse_with(self, answer: HttpAnswer, reason: str, *, is_head: bool = False) -> None:
        """Answer the request that is being read after those before it, and close the connection."""
        self._ignores, self._head_since = True, 0.0
        if self._reading and not self._drop(self._reading):
            return
        self._log(answer, reason)
        self._last_words = raw_answer(answer, self.server_state.default_headers, is_head=is_head)
        if not self._running:
            self._speak_last()

    def _drop(self, request: RequestResponseCycle) -> bool:
        """Drop the request whose body is being read; return whether it can still be answered."""
        if self.pipeline:  # The request is the last one.
            self.pipeline.popleft()
        elif request.response_complete:
            self.leave()
            return False
        elif request.response_started:
            request.keep_alive = False
            return False
        else:
            self._give_up()
        return True

    def _give_up(self) -> None:
        """Cancel the call that is being answered."""
        if self._running and self._task:
            self._running.disconnected = True
            self._task.cancel()
        self._running = self._task = None

    def _speak_last(self) -> None:
        words, self._last_words = self._last_words, b""
        self._raw.write(words)
        self.leave()

    def _reject(self, answer: HttpAnswer, reason: str) -> None:
        """Answer a new connection and close it, without reading from it."""
        self._ignores = True
        self.connections.discard(self)
        self._log(answer, reason)
        self._raw.write(raw_answer(answer, self.server_state.default_headers, is_head=False))
        self._raw.close()

    def _log(self, answer: HttpAnswer, reason: str) -> None:
        log.info("http_refused", status=answer.status, reason=str(reason), peer=peer(self.client))
