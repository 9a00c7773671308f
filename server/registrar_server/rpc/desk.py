"""The desk between servicers and what is behind them: hands changes to the ledger's lanes and reads to the reader's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from hashlib import blake2b
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from registrar_server.batching import Batcher, Lanes
from registrar_server.enrollment.commands import Command, Enroll, Unenroll
from registrar_server.enrollment.ledger import Answer, Call, Ledger
from registrar_server.errors import Refusal
from registrar_server.reading import Lookup, Reader
from registrar_server.rpc.endpoint import Context

Response = TypeVar("Response", bound=Message)
Result = TypeVar("Result")

log = structlog.get_logger()


class Desk:
    """What servicers may ask for. A call's deadline travels with its context."""

    def __init__(
        self,
        ledger: Ledger,
        changes: Lanes[Call, Answer],
        reader: Reader,
        lookups: Batcher[Lookup, Any],
        queries: Executor,
    ) -> None:
        self._ledger = ledger
        self._changes = changes
        self._reader = reader
        self._lookups = lookups
        self._queries = queries

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
        return await self.query(self._ledger.preview, call)

    async def look_up(self, context: Context, lookup: Lookup) -> Any:
        """Return what a lookup finds, or raise its ``Refusal``."""
        return await self._lookups.submit(lookup, timeout=context.time_remaining())

    async def list_page(self, query: Callable[[Reader], Sequence[Result]]) -> Sequence[Result]:
        """Run a list's query in a thread and return its rows."""
        return await self.query(query, self._reader)

    async def query(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a blocking function in one of the reading threads."""
        return await asyncio.get_running_loop().run_in_executor(self._queries, function, *arguments)


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
    if isinstance(command, Enroll | Unenroll):
        log.info(
            "enrollment_refused",
            student_id=command.student_id,
            course_id=command.course_id,
            reasons=[violation.reason.value for violation in refusal.violations] or [refusal.reason.value],
        )
