"""API keys as a source of identity: finds the caller of a key, and notes that the key is used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from registrar_server.identity import key_store
from registrar_server.identity.callers import Caller
from registrar_server.identity.identity import Verified
from registrar_server.identity.key_format import PREFIX, KnownKey, caller_of, read_key
from registrar_server.identity.key_lookups import KeyLookups
from registrar_server.identity.key_store import HOUR
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.ledger.ledger import microseconds_now
from registrar_server.storage.database import Database

REMEMBERED_S = 30.0
"""How long the result of a look-up is used: a revoked key stops within this time, and a new one works after it."""

log = structlog.get_logger()


class ApiKeys:
    """Knows the bearers that are API keys. Tests may inject the wall clock, in microseconds since 1970 UTC."""

    def __init__(self, database: Database, wall_clock: Callable[[], int] = microseconds_now) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._lookup_thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        # A write may wait for other writers, and a look-up must not wait with it.
        self._other_thread = ThreadPoolExecutor(1, thread_name_prefix="key-use")
        self._lookups = KeyLookups(partial(key_store.find_keys, database), self._lookup_thread)
        self._noted: dict[str, int] = {}
        """The hour in which the use of a key was last noted, by its id."""

    def takes(self, bearer: str) -> bool:
        """Return whether a bearer is meant to be an API key."""
        return bearer.startswith(PREFIX)

    async def verify(self, bearer: str, now: float) -> Verified:
        """Find the caller of a key. Raises OVERLOADED, SHUTTING_DOWN or the refusal of a failing database."""
        presented = read_key(bearer)
        if presented is None:
            return Verified(CredentialsRefused("it is no API key, although it begins like one"), now)
        known = await self._lookups.find(presented.key_id)
        wall_time = self._wall_clock()
        caller = caller_of(presented, known, wall_time)
        if known is None or not isinstance(caller, Caller):
            return Verified(caller, now + REMEMBERED_S)
        self._note_use(known, wall_time)
        seconds = REMEMBERED_S if known.expire_time is None else (known.expire_time - wall_time) / 1_000_000
        return Verified(caller, now + min(seconds, REMEMBERED_S))

    async def were_made(self) -> bool:
        """Return whether an API key was ever made."""
        return await asyncio.get_running_loop().run_in_executor(self._other_thread, key_store.has_keys, self._database)

    def _note_use(self, key: KnownKey, now: int) -> None:
        """Note in a thread that a key is used, unless that is noted in this hour."""
        hour = now // HOUR
        if self._noted.get(key.key_id) == hour or (key.last_use_time or 0) // HOUR >= hour:
            return
        self._noted[key.key_id] = hour
        self._other_thread.submit(self._write_use, key.key_id, now)

    def _write_use(self, key_id: str, now: int) -> None:
        try:
            key_store.note_use(self._database, key_id, now)
        except Exception as error:
            self._noted.pop(key_id, None)  # The next look-up tries again.
            log.debug("key_use_not_noted", key_id=key_id, error=type(error).__name__)

    async def close(self) -> None:
        """Refuse new look-ups, and return when all work in the database is done."""
        await self._lookups.close()
        await asyncio.to_thread(self._lookup_thread.shutdown)
        await asyncio.to_thread(self._other_thread.shutdown, cancel_futures=True)
