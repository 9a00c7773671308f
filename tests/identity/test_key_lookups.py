"""Look-ups of keys: those that wait share one query, and a flood of wrong keys keeps no caller out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from registrar_server.errors import Refusal
from registrar_server.identity.callers import Role
from registrar_server.identity.key_format import KnownKey
from registrar_server.identity.key_lookups import KeyLookups

KNOWN = KnownKey("known", "sis-sync", Role.READER, frozenset(), b"", 0)


class Table:
    """The keys, behind a gate that a test can close."""

    def __init__(self) -> None:
        self.queries: list[list[str]] = []
        self.failure: Exception | None = None
        self.begun = threading.Event()
        self.opens = threading.Event()
        self.opens.set()

    def find(self, key_ids: Sequence[str]) -> Mapping[str, KnownKey]:
        """Return the one key, if it is asked for."""
        self.queries.append(sorted(key_ids))
        self.begun.set()
        self.opens.wait()
        if self.failure:
            raise self.failure
        return {"known": KNOWN} if "known" in key_ids else {}


@pytest.fixture
async def table() -> AsyncIterator[Table]:
    """The keys in the database."""
    table = Table()
    yield table
    table.opens.set()


@pytest.fixture
async def lookups(table: Table) -> AsyncIterator[KeyLookups]:
    """Look-ups of which two may wait."""
    with ThreadPoolExecutor(1) as threads:
        yield KeyLookups(table.find, threads, max_waiting=2)
        table.opens.set()


async def begun(table: Table, lookups: KeyLookups, *key_ids: str) -> list[asyncio.Task[KnownKey | None]]:
    """Hold a first query up, and begin these look-ups behind it."""
    table.opens.clear()
    table.begun.clear()
    tasks = [asyncio.create_task(lookups.find("first"))]
    await asyncio.to_thread(table.begun.wait)
    tasks += [asyncio.create_task(lookups.find(key_id)) for key_id in key_ids]
    await asyncio.sleep(0)  # Each of them runs until it waits.
    return tasks


async def test_those_that_wait_share_one_query(table: Table, lookups: KeyLookups) -> None:
    tasks = await begun(table, lookups, "known", "wrong", "known")
    table.opens.set()
    assert await asyncio.gather(*tasks) == [None, KNOWN, None, KNOWN]
    assert table.queries == [["first"], ["known", "wrong"]]


async def test_too_many_are_refused_and_the_next_are_served(table: Table, lookups: KeyLookups) -> None:
    tasks = await begun(table, lookups, "wrong-1", "wrong-2", "wrong-3")
    with pytest.raises(Refusal) as refused:
        await tasks.pop()
    assert (refused.value.reason, refused.value.retry_after) == ("OVERLOADED", 1.0)
    table.opens.set()
    assert await asyncio.gather(*tasks) == [None] * 3
    assert await lookups.find("known") == KNOWN


async def test_a_flood_of_wrong_keys_keeps_no_known_caller_out(table: Table, lookups: KeyLookups) -> None:
    assert await lookups.find("known") == KNOWN
    *tasks, known = await begun(table, lookups, "wrong-1", "wrong-2", "wrong-3", "known")
    table.opens.set()
    assert await known == KNOWN
    assert isinstance((await asyncio.gather(*tasks, return_exceptions=True))[3], Refusal)
    assert table.queries[-1] == ["known", "wrong-1", "wrong-2"]


async def test_a_failing_database_is_unavailable_for_each_and_only_as_long_as_it_fails(
    table: Table, lookups: KeyLookups
) -> None:
    tasks = await begun(table, lookups, "known", "wrong")
    table.failure = psycopg.OperationalError("gone")
    table.opens.set()
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert [failure.reason for failure in failures if isinstance(failure, Refusal)] == ["DATABASE_UNAVAILABLE"] * 3
    assert len({id(failure) for failure in failures}) == 3
    table.failure = None
    assert await lookups.find("known") == KNOWN


async def test_close_waits_for_the_look_ups_in_progress_and_refuses_others(table: Table, lookups: KeyLookups) -> None:
    tasks = await begun(table, lookups, "known")
    closing = asyncio.create_task(lookups.close())
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await lookups.find("late")
    assert refused.value.reason == "SHUTTING_DOWN"
    assert not closing.done()
    table.opens.set()
    await closing
    assert await asyncio.gather(*tasks) == [None, KNOWN]
