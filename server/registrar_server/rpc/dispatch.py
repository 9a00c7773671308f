"""The desk between servicers and what is behind them: hands changes to the ledger's lanes and reads to the reader's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from hashlib import blake2b
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from registrar_server.core.commands import Command, Complete, Enroll, Swap, Unenroll
from registrar_server.errors import Refusal, overloaded, shutting_down
from registrar_server.ledger.batching import Batcher, Lanes
from registrar_server.ledger.ledger import Answer, Call, Ledger
from registrar_server.reading.reader import Lookup, Reader
from registrar_server.rpc.endpoint import Context

Response = TypeVar("Response", bound=Message)
Result = TypeVar("Result")

log = structlog.get_logger()


class Queries:
    """Threads for lists and previews, with a bound to how many may wait for them."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="query")
        self._max_waiting = max_waiting
        self._under_way = 0
        self._closing = False

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a blocking function in one of the threads; refuses as OVERLOADED or SHUTTING_DOWN."""
        if self._closing:
            raise shutting_down()
        if self._under_way >= self._max_waiting:
            raise overloaded(self._under_way, 1.0)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._under_way -= 1

    async def close(self) -> None:
        """Refuse further functions, and return when those under way are done."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown)


class Desk:
    """What servicers may ask for. A call's deadline travels with its context."""

    def __init__(
        self,
        ledger: Ledger,
        changes: Lanes[Call, Answer],
        reader: Reader,
        lookups: Batcher[Lookup, Any],
        queries: Queries,
        max_message_bytes: int,
    ) -> None:
        self._ledger = ledger
        self._changes = changes
        self._reader = reader
        self._lookups = lookups
        self._queries = queries
        self.max_page_bytes = max_message_bytes * 3 // 4
        """How large a page may grow; the rest is for what surrounds it."""

    async def change(
        self,
        context: Context,
        request: Any,
        command: Command,
        response: type[Response],
        pack: Callable[[Any], Response],
    ) -> Response:
        """Carry out a change and return its response, or raise its ``Refusal``.

        A request that says ``validate_only`` is answered from a preview. The same ``request_id`` with the same content
        gets the first response again.
        """
        if getattr(request, "validate_only", False):
            previewed: Response = await self._preview(Call(command, pack, response))
            return previewed
        try:
            call = Call(command, pack, response, request.request_id.lower(), _fingerprint(request))
            answer = await self._changes.submit(call, timeout=context.time_remaining())
        except Refusal as refusal:
            _log_refusal(command, refusal)
            raise
        for event in answer.events:
            if event.enrollment_id:
                log.info(
                    event.type.lower(),
                    student_id=event.student_id,
                    course_id=event.course_id,
                    enrollment_id=event.enrollment_id,
                )
        result: Response = answer.response
        return result

    async def _preview(self, call: Call) -> Any:
        return await self._queries.run(self._ledger.preview, call)

    async def look_up(self, context: Context, lookup: Lookup) -> Any:
        """Return what a lookup finds, or raise its ``Refusal``."""
        return await self._lookups.submit(lookup, timeout=context.time_remaining())

    async def list_page(self, query: Callable[[Reader], Sequence[Result]]) -> Sequence[Result]:
        """Run a list's query in a thread and return its rows."""
        return await self._queries.run(query, self._reader)

    async def close(self) -> None:
        """Refuse further lists and previews, and return when those under way are done."""
        await self._queries.close()


def _fingerprint(request: Any) -> bytes:
    """Digest the RPC's name and the request without its ``request_id``, as deterministic bytes."""
    request_id = request.request_id
    if not request_id:
        return b""
    request.request_id = ""
    content = request.SerializeToString(deterministic=True)
    request.request_id = request_id
    return blake2b(request.DESCRIPTOR.full_name.encode() + b"\0" + content, digest_size=32).digest()


def _log_refusal(command: Command, refusal: Refusal) -> None:
    if isinstance(command, Enroll | Unenroll | Swap | Complete):
        reasons = [violation.reason.value for violation in refusal.violations] or [refusal.reason.value]
        ids = {field.name: getattr(command, field.name) for field in fields(command) if field.name.endswith("_id")}
        log.info("enrollment_refused", reasons=reasons, **ids)
