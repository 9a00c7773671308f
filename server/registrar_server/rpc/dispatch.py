"""Dispatches the work of servicers: changes to the lanes of the ledger, previews to threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from registrar_server.core.commands import Command, EnrollmentCommand
from registrar_server.errors import Refusal
from registrar_server.ledger.event_lines import log_events
from registrar_server.ledger.ledger import Call, Ledger
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.reading.reads import Reads
from registrar_server.rpc.endpoint import Context
from registrar_server.rpc.fingerprint import fingerprint
from registrar_server.rpc.twins import Twins

Response = TypeVar("Response", bound=Message)

log = structlog.get_logger()


class Dispatcher:
    """Runs changes and previews; ``reads`` runs lookups and lists."""

    def __init__(
        self,
        ledger: Ledger,
        twins: Twins,
        reads: Reads,
        queries: QueryThreads,
        *,
        max_message_bytes: int,
        slow_call: float,
    ) -> None:
        self._ledger = ledger
        self._twins = twins
        self._queries = queries
        self.reads = reads
        self.max_page_bytes = max_message_bytes * 3 // 4
        """The most bytes in a page of a list; the rest of a message is for its envelope."""
        self.slow_call = slow_call
        """The seconds after which a call is logged as slow."""

    async def change(
        self,
        context: Context,
        request: Any,
        command: Command,
        response: type[Response],
        pack: Callable[[Any], Response],
    ) -> Response:
        """Carry out a change and return its response, or raise its ``Refusal``.

        A request with ``validate_only`` is answered by a preview. A request with a known ``request_id`` and the same
        content gets the first response again, and waits for it if that call is still under way.
        """
        if getattr(request, "validate_only", False):
            previewed: Any = await self._queries.run(self._ledger.preview, Call(command, pack, response))
            preview: Response = previewed
            return preview
        call = Call(command, pack, response, request.request_id.lower(), fingerprint(request))
        try:
            answer = await self._twins.run(call, context.time_remaining)
        except Refusal as refusal:
            _log_refusal(command, refusal)
            raise
        log_events(answer.events)
        result: Response = answer.response
        return result


def _log_refusal(command: Command, refusal: Refusal) -> None:
    if isinstance(command, EnrollmentCommand):
        reasons = [violation.reason.value for violation in refusal.violations] or [refusal.reason.value]
        ids = {field.name: getattr(command, field.name) for field in fields(command) if field.name.endswith("_id")}
        log.info("enrollment_refused", reasons=reasons, **ids)
