"""Opens calls and sends them on: changes to the lanes of the ledger, lookups to their batches, the rest to threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial

import structlog

from registrar_server.core.commands import Command
from registrar_server.errors import Refusal
from registrar_server.ledger.batching import Batcher
from registrar_server.ledger.ledger import Answer, Call, Outcome
from registrar_server.ledger.previews import Previews
from registrar_server.ledger.submissions import give
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.methods import Change, LookupPlan, QueryPlan, Read
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.twins import Twins
from registrar_server.rpc.validation import Fields

log = structlog.get_logger()


class Dispatcher:
    """Opens calls. Each call gets its outcome through ``Arrival.end``."""

    def __init__(
        self,
        twins: Twins,
        lookups: Batcher[LookupPlan, Answer],
        previews: Previews,
        reads: PackedReads,
        queries: QueryThreads,
    ) -> None:
        self._twins = twins
        self._lookups = lookups
        self._previews = previews
        self._reads = reads
        self._queries = queries

    def open_all(self, arrivals: Sequence[Arrival]) -> None:
        """Open calls in order. What is wrong with one of them is its outcome, and does not affect the others."""
        for arrival in arrivals:
            if not arrival.ended.done():
                try:
                    self._open(arrival)
                except Exception as error:
                    give(arrival.end, error)

    def _open(self, arrival: Arrival) -> None:
        """Read a call and put it into the queue where it belongs."""
        method = arrival.method
        arrival.request = method.read(arrival.data)
        if isinstance(method, Change):
            self._open_change(arrival, method)
        else:
            assert isinstance(method, Read)
            self._open_read(arrival, method)

    def _open_change(self, arrival: Arrival, change: Change) -> None:
        """Enter a change, or preview it for a request with ``validate_only``.

        A request with a known ``request_id`` and the same content gets the first response again, and waits for it if
        that call is still under way.
        """
        given, request = Fields(), arrival.request
        request_id = given.request_id(request.request_id)
        command = change.command(given, request)
        given.check()
        if change.takes_validate_only and request.validate_only:
            arrival.entry = self._queries.enter(partial(self._preview, Call(command, change.pack)), arrival.end)
            return
        call = Call(command, change.pack, request_id, change.fingerprint(request))
        then = partial(_end_change, arrival, change.refused_event, command) if change.refused_event else arrival.end
        try:
            arrival.entry = self._twins.enter(call, then, timeout=arrival.time_remaining())
        except Refusal as refusal:
            then(refusal)

    def _preview(self, call: Call) -> Answer:
        message = self._previews.preview(call)
        return Answer(message.SerializeToString(), message=message)

    def _open_read(self, arrival: Arrival, read: Read) -> None:
        given = Fields()
        plan = read.plan(given, arrival.request)
        given.check()
        if isinstance(plan, QueryPlan):
            arrival.entry = self._queries.enter(partial(self._reads.query, plan), arrival.end)
        else:
            arrival.entry = self._lookups.enter(plan, arrival.end, timeout=arrival.time_remaining())


def _end_change(arrival: Arrival, refused_event: str, command: Command, outcome: Outcome) -> None:
    if isinstance(outcome, Refusal):
        _log_refusal(refused_event, command, outcome)
    arrival.end(outcome)


def _log_refusal(event: str, command: Command, refusal: Refusal) -> None:
    reasons = [violation.reason.value for violation in refusal.violations] or [refusal.reason.value]
    named = (field.name for field in fields(command) if field.name.endswith("_id"))  # type: ignore[arg-type]
    log.info(event, reasons=reasons, **{name: getattr(command, name) for name in named})
