"""Gathers the calls that arrive together, so that they are opened, decided and answered together.

gRPC delivers one call per turn of the event loop. What is done for one call between two others costs several times what
it costs in a loop over many, since gRPC's own work fills the processor's caches. Sending answers one by one costs more
than sending many at once, and their callers come back one by one. So calls wait until some turns of the loop bring no
new call. Nothing waits for a timer: an idle loop takes a few microseconds for a turn. A caller who is alone does not
wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from registrar_server.rpc.arrival import Arrival

QUIET_TURNS = 16
"""After so many turns of the event loop without a new call, the gathered calls are opened."""
MAX_GATHERED = 256
"""The most calls that are opened together."""
ALONE = 8
"""After so many calls in a row that met no other call, their caller is taken to be alone."""


class Intake:
    """Gathers calls and gives them to ``open_all``, all that have gathered at once."""

    def __init__(self, open_all: Callable[[Sequence[Arrival]], None]) -> None:
        self._open_all = open_all
        self._gathered: list[Arrival] = []
        self._last: asyncio.Future[None] | None = None
        """Done when the last of the opened calls has ended."""
        self._met_nobody = 0
        """How many calls in a row have met no other call."""

    def take(self, arrival: Arrival) -> None:
        """Take a call; it is opened in one of the next turns of the event loop."""
        self._gathered.append(arrival)
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._look, 1, self._patience())

    def _patience(self) -> int:
        if self._last is not None and not self._last.done():
            self._met_nobody = 0
        return 1 if self._met_nobody >= ALONE else QUIET_TURNS

    def _look(self, seen: int, turns_left: int) -> None:
        """Open the calls if the last turns of the loop brought no new one."""
        count = len(self._gathered)
        if count > seen:
            turns_left = QUIET_TURNS
        if turns_left > 1 and count < MAX_GATHERED:
            asyncio.get_running_loop().call_soon(self._look, count, turns_left - 1)
            return
        gathered, self._gathered = self._gathered, []
        self._met_nobody = self._met_nobody + 1 if count == 1 else 0
        self._last = gathered[-1].ended
        self._open_all(gathered)
