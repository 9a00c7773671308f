"""Reads of the history that watchers at the same place share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from registrar_server.errors import unwrap
from registrar_server.reading.history import EventSearch
from registrar_server.reading.spans import Span

KEPT_SPANS = 16
"""How many spans are kept for the watchers who come to the same place a little later."""


class SharedReads:
    """Reads each span once for all who ask for it at the same time or shortly after."""

    def __init__(self, read: Callable[[EventSearch], Awaitable[Span]]) -> None:
        self._read = read
        self._under_way: dict[EventSearch, asyncio.Task[Span | Exception]] = {}
        self._kept: OrderedDict[EventSearch, Span] = OrderedDict()

    async def read(self, search: EventSearch) -> Span:
        """Return the next events that fit a search. Raises the refusal of a failed read."""
        if kept := self._kept.get(search):
            return kept
        reading = self._under_way.get(search)
        if reading is None:
            reading = self._under_way[search] = asyncio.create_task(self._begin(search, self._kept))
        # Whoever leaves must not disturb the others.
        return unwrap(await asyncio.shield(reading))

    async def _begin(self, search: EventSearch, kept: OrderedDict[EventSearch, Span]) -> Span | Exception:
        try:
            span = await self._read(search)
        except Exception as error:
            return error
        finally:
            del self._under_way[search]
        if not span.is_last:  # More events may follow the last ones at any time.
            kept[search] = span
            if len(kept) > KEPT_SPANS:
                kept.popitem(last=False)
        return span

    def forget(self) -> None:
        """Keep nothing, also of the reads under way, because nobody watches any more."""
        self._kept = OrderedDict()
