"""Gathers the calls that arrive together, so that they are opened, decided and answered together.

gRPC delivers one call per turn of the event loop. What is done for one call between two others costs several times what
it costs in a loop over many, since gRPC's own work fills the processor's caches. So calls wait until some turns of the
loop bring no new call. Nothing waits for a timer: a busy loop has long turns and many calls, an idle one has turns of
microseconds, and a caller who is alone waits for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from registrar_server.rpc.arrival import Arrival

QUIET_TURNS = 8
"""The turns of the event loop without a new call after which the gathered calls are opened, if there are many calls."""
MAX_GATHERED = 256
"""The most calls that are opened together."""


class Intake:
    """Gathers calls and gives them to ``open_all``, all that have gathered at once."""

    def __init__(self, open_all: Callable[[Sequence[Arrival]], None]) -> None:
        self._open_all = open_all
        self._gathered: list[Arrival] = []
        self._usual = 1
        """How many calls came together recently."""

    def take(self, arrival: Arrival) -> None:
        """Take a call; it is opened in one of the next turns of the event loop."""
        self._gathered.append(arrival)
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._look, 1, self._patience())

    def _patience(self) -> int:
        return min(self._usual, QUIET_TURNS)

    def _look(self, seen: int, turns_left: int) -> None:
        """Wait for another turn, or open the calls if the last turns brought no new one."""
        count = len(self._gathered)
        if count > seen:
            turns_left = max(self._patience(), min(count, QUIET_TURNS))
        if turns_left > 1 and count < MAX_GATHERED:
            asyncio.get_running_loop().call_soon(self._look, count, turns_left - 1)
            return
        gathered, self._gathered = self._gathered[:MAX_GATHERED], self._gathered[MAX_GATHERED:]
        self._usual = max(count, self._usual // 2)
        if self._gathered:
            asyncio.get_running_loop().call_soon(self._look, len(self._gathered), 1)
        self._open_all(gathered)
