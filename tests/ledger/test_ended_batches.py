"""A batch whose task is cancelled, as at the end of an event loop, leaves no call waiting and no lane busy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.ledger.batching import Batcher


async def test_the_calls_of_a_cancelled_batch_are_uncertain_and_the_lane_goes_on() -> None:
    begun = asyncio.Event()
    tasks: list[asyncio.Task[object]] = []

    async def run(items: Sequence[str]) -> Sequence[str | Exception]:
        if "first" in items:
            task = asyncio.current_task()
            assert task
            tasks.append(task)
            begun.set()
            await asyncio.Event().wait()
        return items

    batcher = Batcher[str, str](run)
    first = asyncio.create_task(batcher.submit("first"))
    await begun.wait()
    second = asyncio.create_task(batcher.submit("second"))
    await asyncio.sleep(0)
    tasks[0].cancel()
    with pytest.raises(Refusal, match="may or may not") as uncertain:
        await first
    assert uncertain.value.reason is Reason.DATABASE_UNAVAILABLE
    assert await second == "second"
    await batcher.close()


async def test_a_caller_who_leaves_does_not_cancel_the_batch() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(items: Sequence[str]) -> Sequence[str | Exception]:
        begun.set()
        await may_end.wait()
        ended.set()
        return items

    batcher = Batcher[str, str](run)
    leaving = asyncio.create_task(batcher.submit("leaving"))
    await begun.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    may_end.set()
    await batcher.close()
    assert ended.is_set()
