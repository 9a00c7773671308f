"""The thread of a lane, for a database whose driver blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from registrar_server.immediate import complete
from registrar_server.ledger.batching import Run
from registrar_server.stopwatch import current, measured

Item = TypeVar("Item")
Result = TypeVar("Result")


class LaneThread(Generic[Item, Result]):
    """Carries out batches in a thread of its own, for a database whose driver blocks."""

    def __init__(self, run: Run[Item, Result], name: str) -> None:
        self._run = run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """Carry out a batch; everything that ``run`` awaits must be done at once, as ``complete`` demands."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, measured, current(), self._complete, items)

    def _complete(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        # The thread makes the coroutine, since nothing would run it if the thread does not accept the batch.
        return complete(self._run(items))

    def close(self) -> None:
        """End the thread after its batch."""
        self._thread.shutdown(wait=False)
