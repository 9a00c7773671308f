"""Looks API keys up, all together that wait: one query at a time, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

from registrar_server.errors import overloaded, shutting_down
from registrar_server.identity.key_format import KnownKey
from registrar_server.storage.failures import refusal_of

MAX_WAITING = 256
"""The most ids that wait for the next query, besides those of keys that were found before."""

Find = Callable[[Sequence[str]], Mapping[str, KnownKey]]
Looked = asyncio.Future[KnownKey | None]


class KeyLookups:
    """Finds keys by their ids.

    The ids of keys that were found before always have a place. So callers who present ids that do not exist never keep
    a known caller out, and there are as many places as keys.
    """

    def __init__(self, find: Find, threads: Executor, max_waiting: int = MAX_WAITING) -> None:
        self._find = find
        self._threads = threads
        self._max_waiting = max_waiting
        self._waiting: dict[str, Looked] = {}
        self._found: set[str] = set()
        self._working: asyncio.Task[None] | None = None
        self._closing = False

    async def find(self, key_id: str) -> KnownKey | None:
        """Return the key with an id, or None. Raises a ``Refusal``: OVERLOADED, SHUTTING_DOWN or of the database."""
        if self._closing:
            raise shutting_down()
        looked = self._waiting.get(key_id)
        if looked is None:
            if key_id not in self._found and len(self._waiting) >= self._max_waiting:
                raise overloaded(len(self._waiting), 1.0)
            looked = self._waiting[key_id] = asyncio.get_running_loop().create_future()
            if self._working is None:
                self._working = asyncio.create_task(self._work())
        try:
            return await asyncio.shield(looked)
        finally:
            del looked  # As in ``Identity.identify``.

    async def _work(self) -> None:
        """Look the ids up that wait, until none waits."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                found = await loop.run_in_executor(self._threads, self._find, list(asked))
            except Exception as error:
                _fail(asked.values(), error)
                continue
            self._found.update(found)
            for key_id, looked in asked.items():
                looked.set_result(found.get(key_id))
        self._working = None

    async def close(self) -> None:
        """Refuse new look-ups, and return when those in progress are done."""
        self._closing = True
        if self._working:
            await asyncio.shield(self._working)


def _fail(looked: Iterable[Looked], error: Exception) -> None:
    for each in looked:
        each.set_exception(refusal_of(error))
        each.exception()  # If all callers have left, asyncio would log that nobody has seen it.
