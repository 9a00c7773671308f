"""Both clients behind one form of call, so that one test with a real server in its event loop serves both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Protocol

from registrar_client import AsyncPager, AsyncRegistrarClient, Pager, RegistrarClient
from tests.support.client_fakes import method_of


class Caller(Protocol):
    """Makes calls with a client of one kind."""

    async def __call__(self, name: str, /, *args: Any, **arguments: Any) -> Any:
        """Make a call by its name, such as ``students.create``. Return its result, or all items of a list."""


class ThreadCaller:
    """Makes each call with a ``RegistrarClient``, in a thread."""

    def __init__(self, client: RegistrarClient) -> None:
        self._client = client

    async def __call__(self, name: str, /, *args: Any, **arguments: Any) -> Any:
        def call() -> Any:
            result = method_of(self._client, name)(*args, **arguments)
            return list(result) if isinstance(result, Pager) else result

        return await asyncio.to_thread(call)


class TaskCaller:
    """Makes each call with an ``AsyncRegistrarClient``."""

    def __init__(self, client: AsyncRegistrarClient) -> None:
        self._client = client

    async def __call__(self, name: str, /, *args: Any, **arguments: Any) -> Any:
        result = method_of(self._client, name)(*args, **arguments)
        return [item async for item in result] if isinstance(result, AsyncPager) else await result


@contextlib.asynccontextmanager
async def thread_caller(address: str, **options: Any) -> AsyncIterator[Caller]:
    """Open a ``RegistrarClient``."""
    with RegistrarClient(address, **options) as client:
        yield ThreadCaller(client)


@contextlib.asynccontextmanager
async def task_caller(address: str, **options: Any) -> AsyncIterator[Caller]:
    """Open an ``AsyncRegistrarClient``."""
    async with AsyncRegistrarClient(address, **options) as client:
        yield TaskCaller(client)


CALLERS: Mapping[str, Any] = {
    "sync": thread_caller,
    "async": task_caller,
    "gathering": partial(task_caller, gather=True),
}
"""The kinds of clients. Each takes an address and the options of a client."""
