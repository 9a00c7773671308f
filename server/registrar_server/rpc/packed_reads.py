"""Runs reads and packs their responses: lookups in batches, and single queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from registrar_server.ledger.calls import Answer, Outcome
from registrar_server.reading.lookups import Lookup
from registrar_server.reading.reader import Reader
from registrar_server.rpc.methods import LookupPlan, QueryPlan

PIECE = 32
"""After so many responses, other work in the event loop gets a turn."""


class PackedReads:
    """Answers reads with the bytes of their responses; a list fills at most ``max_page_bytes``."""

    def __init__(
        self,
        look_up: Callable[[Sequence[Lookup]], Awaitable[list[Any]]],
        pause: Callable[[float], Awaitable[None]],
        reader: Reader,
        max_page_bytes: int,
    ) -> None:
        self._look_up = look_up
        self._pause = pause
        self._reader = reader
        self._max_page_bytes = max_page_bytes

    async def look_up(self, plans: Sequence[LookupPlan]) -> list[Outcome]:
        """Return an answer or an error for each lookup, in order."""
        found = await self._look_up([plan.lookup for plan in plans])
        outcomes: list[Outcome] = []
        for place, (plan, one) in enumerate(zip(plans, found, strict=True), start=1):
            outcomes.append(one if isinstance(one, Exception) else self._attempt(plan, one))
            if place % PIECE == 0:
                await self._pause(0)
        return outcomes

    def query(self, plan: QueryPlan) -> Answer:
        """Run a query and return its answer, or raise its error."""
        return self._pack(plan, plan.run(self._reader))

    def _attempt(self, plan: LookupPlan, found: object) -> Outcome:
        """Pack one response; its failure must not affect the other lookups of the batch."""
        try:
            return self._pack(plan, found)
        except Exception as error:
            return error

    def _pack(self, plan: LookupPlan | QueryPlan, found: object) -> Answer:
        message = plan.pack(found, self._max_page_bytes)
        return Answer(message.SerializeToString(), message=message)
