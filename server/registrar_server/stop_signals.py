"""Handles the signals that stop a server, and SIGHUP, which makes it read its files again.

The first signal stops it gracefully, a later one ends it immediately.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

REPEAT_S = 1.0
"""How long signals after the first one count as repeats of it."""


class StopSignals:
    """Calls ``stop`` at the first SIGTERM or SIGINT, ``end`` at a later one, and ``reload`` at each SIGHUP before.

    systemd, make and GNU timeout signal a process and its whole process group, so the same request arrives twice. All
    signals within a second of the first one are therefore ignored. SIGHUP never stops the server: a closing terminal
    sends it too, without asking.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        end: Callable[[], None],
        reload: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stop = stop
        self._end = end
        self._reload = reload
        self._clock = clock
        self._first: float | None = None

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle the signals of this process from now on. Under nohup, SIGHUP stays ignored."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.receive, number)

    def receive(self, number: signal.Signals) -> None:
        """Handle one signal."""
        now = self._clock()
        if number is signal.SIGHUP:
            if self._first is None:
                self._reload()
        elif self._first is None:
            self._first = now
            self._stop()
        elif now - self._first >= REPEAT_S:
            self._end()
