"""Opens calls and sends them on: changes to the lanes of the ledger, lookups to their batches, queries to threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from registrar_server.ledger.batching import Batcher
from registrar_server.ledger.calls import Answer, Call
from registrar_server.ledger.previews import Previews
from registrar_server.ledger.submissions import give
from registrar_server.reading.query_threads import QueryThreads
from registrar_server.rpc.arrival import Arrival
from registrar_server.rpc.batch_requests import Batch
from registrar_server.rpc.batches import Batches
from registrar_server.rpc.methods import Change, LookupPlan, QueryPlan, Read
from registrar_server.rpc.opening import admit, enter_change, open_change
from registrar_server.rpc.packed_reads import PackedReads
from registrar_server.rpc.twins import Twins
from registrar_server.rpc.validation import Fields


class Dispatcher:
    """Opens calls. Each call gets its outcome through ``Arrival.end``."""

    def __init__(
        self,
        twins: Twins,
        batches: Batches,
        lookups: Batcher[LookupPlan, Answer],
        previews: Previews,
        reads: PackedReads,
        queries: QueryThreads,
    ) -> None:
        self._twins = twins
        self._batches = batches
        self._lookups = lookups
        self._previews = previews
        self._reads = reads
        self._queries = queries

    def open_all(self, arrivals: Sequence[Arrival]) -> None:
        """Open calls in order. What is wrong with one of them is its outcome, and does not affect the others."""
        for arrival in arrivals:
            if not arrival.is_over:
                try:
                    self._open(arrival)
                except Exception as error:
                    give(arrival.end, error)

    def _open(self, arrival: Arrival) -> None:
        """Read a call and put it into the queue where it belongs."""
        method = arrival.method
        arrival.request = method.read(arrival.data)
        admit(arrival)
        if isinstance(method, Change):
            self._open_change(arrival, method)
        elif isinstance(method, Batch):
            arrival.entry = self._batches.enter(arrival)
        else:
            assert isinstance(method, Read)
            self._open_read(arrival, method)

    def _open_change(self, arrival: Arrival, change: Change) -> None:
        """Enter a change, or preview it for a request with ``validate_only``.

        A request with a known ``request_id`` and the same content gets the first response again, and waits for it if
        that call is still under way.
        """
        opened = open_change(arrival, change, Fields())
        if change.takes_validate_only and arrival.request.validate_only:
            arrival.entry = self._queries.enter(partial(self._preview, opened.call), arrival.end)
        else:
            self._batches.make_way()
            enter_change(self._twins, opened)

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
