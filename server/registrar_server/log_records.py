"""Collects the records of the log, and formats and writes those of 20 ms together.

Formatting a line during a call costs several times what it costs in a loop over many lines, because the other code of
the call fills the processor's caches. So a call only adds a record to a list.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from registrar_server.log_formats import Format, Record

DELAY_S = 0.02
"""How long a record waits for its line."""
LATENESS_S = 0.03
"""How much longer it waits for a loop that is busy; a line that is written alone costs several times as much."""

_MAY_WAIT = frozenset({"debug", "info"})
"""The levels of records that wait. All others are written at once, with those that wait."""


class LogRecords:
    """The records that wait to be written to a stream; may be used from any thread. Tests may inject the clock.

    Lines are written in the order of the calls, each flush with one write. Every record is written:

    - by the event loop, ``DELAY_S`` after the first one that waits, or ``LATENESS_S`` later if the loop is busy;
    - at once, if it is a warning or an error, or if no event loop runs in the thread and none will write it soon;
    - at the latest when the process exits. ``os._exit`` needs ``write_out`` before it.

    If the stream fails, for example because its disk is full, the lines are lost and the callers go on.
    """

    def __init__(self, stream: TextIO, form: Format, clock: Callable[[], int] = time.time_ns) -> None:
        self._stream = stream
        self._format = form
        self._clock = clock
        self._records: list[Record] = []
        self._append = self._records.append
        self._due = 0
        """The time until which an event loop should write the records, or 0 if none is asked to."""
        self._lock = threading.RLock()
        self._writing = False
        atexit.register(self.write_out)

    def add(self, level: str, event: str, values: dict[str, Any]) -> None:
        """Add a record. It keeps ``values``, so neither they nor their contents may change afterwards."""
        now = self._clock()
        if "exc_info" in values:
            # Render it here and now: a record that waits must not keep the frames of a traceback in memory.
            self._format.render_exception(values)
        self._append((now, level, event, values))
        # A thread without an event loop also leaves its record to a loop that writes soon. This keeps the order and
        # saves writes. Read the time after adding the record: a loop that writes at this moment has either set the
        # time to 0 already, or still finds the record.
        if level not in _MAY_WAIT or (now >= self._due and not self._is_scheduled(now)):
            self.write_out()

    def _is_scheduled(self, now: int) -> bool:
        """Let the event loop of this thread write soon; return False if there is none, or if a loop is late."""
        if self._due:  # The loop is busy, or it has ended.
            return False
        try:
            asyncio.get_running_loop().call_later(DELAY_S, self.write_out)
        except RuntimeError:
            return False
        self._due = now + int((DELAY_S + LATENESS_S) * 1e9)
        return True

    def write_out(self) -> None:
        """Write the records that wait."""
        with self._lock:
            # While this thread renders records, a finalizer may log an error. The loop below writes it too.
            if self._writing:
                return
            self._writing = True
            try:
                while records := self._take():
                    self._write(records)
            finally:
                self._writing = False

    def _take(self) -> list[Record]:
        """Remove and return the records that wait. Other threads may add records meanwhile, so keep the list."""
        self._due = 0
        taken = self._records[:]
        del self._records[: len(taken)]
        return taken

    def _write(self, records: list[Record]) -> None:
        text = self._format.lines(records)
        # A closed stream raises ValueError.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
