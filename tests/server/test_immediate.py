"""Coroutines that are completed in a thread, without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from registrar_server.immediate import complete


async def ready(value: str) -> str:
    """Return a value without waiting for anything."""
    return value


def test_the_result_is_returned() -> None:
    """The coroutine runs to its end, through everything that it awaits."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        yield await ready("a")

    async def work() -> list[str]:
        async with opened() as first:
            return [first, *[await ready(one) for one in "bc"]]

    assert complete(work()) == ["a", "b", "c"]


def test_nothing_is_a_result_too() -> None:
    async def work() -> None:
        await ready("a")

    assert complete(work()) is None


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_an_error_is_raised(error: BaseException) -> None:
    """Errors of all kinds are raised as they are."""

    async def work() -> None:
        await ready("a")
        raise error

    with pytest.raises(type(error)) as raised:
        complete(work())
    assert raised.value is error


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_coroutine_that_waits_is_refused(seconds: float) -> None:
    """It is closed where it waits, so what it has opened is closed too."""
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(seconds)
            steps.append("went on")
        finally:
            steps.append("closed")

    coroutine = work()  # This reference keeps it from being closed by the garbage collector.
    with pytest.raises(RuntimeError):
        complete(coroutine)
    assert steps == ["closed"]


def test_the_message_of_a_refusal() -> None:
    with pytest.raises(RuntimeError, match="the coroutine waits for an event loop"):
        complete(asyncio.sleep(0))


async def test_beside_an_event_loop() -> None:
    """A thread that runs an event loop can complete such a coroutine too, without giving other tasks a turn."""
    others: list[str] = []

    async def other() -> None:
        others.append("other")

    task = asyncio.create_task(other())
    assert complete(ready("a")) == "a"
    assert others == []
    await task
