"""Carries out the calls of all methods: changes in the lanes of the ledger, lookups in batches, the rest in threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import structlog

from registrar_server.core.commands import Command
from registrar_server.errors import Refusal
from registrar_server.ledger.batching import Batcher
from registrar_server.ledger.event_lines import log_events
from registrar_server.ledger.ledger import Answer, Call
from registrar_server.ledger.previews import Previews
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.rpc.fingerprint import fingerprint
from registrar_server.rpc.methods import Change, LookUp, Method, Query, Read
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.twins import Twins
from registrar_server.rpc.validation import Fields

TimeRemaining = Callable[[], float | None]
"""Returns the seconds until the deadline of a call, or None if it has none."""

log = structlog.get_logger()


class Dispatcher:
    """Carries out calls, and returns their responses as bytes."""

    def __init__(
        self,
        twins: Twins,
        lookups: Batcher[LookUp, Answer],
        previews: Previews,
        reads: PackedReads,
        queries: QueryThreads,
    ) -> None:
        self._twins = twins
        self._lookups = lookups
        self._previews = previews
        self._reads = reads
        self._queries = queries

    async def answer(self, method: Method, request: Any, time_remaining: TimeRemaining) -> Answer:
        """Carry out a call and return its answer, or raise its ``Refusal``."""
        if isinstance(method, Change):
            return await self._change(method, request, time_remaining)
        assert isinstance(method, Read)
        return await self._read(method, request, time_remaining)

    async def _change(self, change: Change, request: Any, time_remaining: TimeRemaining) -> Answer:
        """Carry out a change, or preview it for a request with ``validate_only``.

        A request with a known ``request_id`` and the same content gets the first response again, and waits for it if
        that call is still under way.
        """
        given = Fields()
        request_id = given.request_id(request.request_id)
        command = change.command(given, request)
        given.check()
        if change.takes_validate_only and request.validate_only:
            return await self._queries.run(self._preview, Call(command, change.pack))
        try:
            call = Call(command, change.pack, request_id, fingerprint(request))
            answer = await self._twins.run(call, time_remaining)
        except Refusal as refusal:
            if change.refused_event:
                _log_refusal(change.refused_event, command, refusal)
            raise
        log_events(answer.events)
        return answer

    def _preview(self, call: Call) -> Answer:
        message = self._previews.preview(call)
        return Answer(message.SerializeToString(), message=message)

    async def _read(self, read: Read, request: Any, time_remaining: TimeRemaining) -> Answer:
        given = Fields()
        plan = read.plan(given, request)
        given.check()
        if isinstance(plan, Query):
            return await self._queries.run(self._reads.query, plan)
        return await self._lookups.submit(plan, timeout=time_remaining())


def _log_refusal(event: str, command: Command, refusal: Refusal) -> None:
    reasons = [violation.reason.value for violation in refusal.violations] or [refusal.reason.value]
    named = (field.name for field in fields(command) if field.name.endswith("_id"))  # type: ignore[arg-type]
    log.info(event, reasons=reasons, **{name: getattr(command, name) for name in named})
