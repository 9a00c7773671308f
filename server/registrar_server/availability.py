"""Knows whether the database works, and logs when it is lost and when it is back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal

import structlog

Work = Literal["reading", "writing"]

REPEAT_S = 60.0
"""How often a log line repeats that the database is still lost."""

log = structlog.get_logger()


class Availability:
    """What the last reads and writes say about the database; may be used from any thread.

    Reading and writing are separate, because a database with a full disk can still be read. The database is lost while
    one of them fails.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: set[Work] = set()
        self._failures: Counter[Work] = Counter()
        self._listeners: list[Callable[[], None]] = []
        self._lost_at = 0.0
        self._logged_at = 0.0
        self._calls = 0
        self._uncertain = 0

    def fails(self, work: Work) -> bool:
        """Return whether the last attempt at this kind of work failed."""
        return work in self._failing

    def failures(self, work: Work) -> int:
        """Return how many attempts at this kind of work have failed so far."""
        return self._failures[work]

    def when_writes_begin_to_fail(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` each time when writing begins to fail, in the thread that notices it."""
        self._listeners.append(notify)

    def failed(self, work: Work, error: BaseException, *, calls: int = 0, uncertain: bool = False) -> None:
        """Note that work failed because of the database; ``uncertain`` if the changes of its calls may be committed."""
        with self._lock:
            now = self._clock()
            is_new = not self._failing
            begins = work not in self._failing
            self._failing.add(work)
            self._failures[work] += 1
            self._calls += calls
            self._uncertain += calls if uncertain else 0
            if is_new:
                self._lost_at = now
                self._log("database_lost", now, work=work, error=_first_line(error))
            elif now - self._logged_at >= REPEAT_S:
                self._log("database_still_lost", now, work=work, error=_first_line(error), seconds=self._seconds(now))
        if begins and work == "writing":
            for notify in self._listeners:
                notify()

    def succeeded(self, work: Work) -> None:
        """Note that work succeeded."""
        if not self._failing:  # Every batch asks, so ask without the lock.
            return
        with self._lock:
            if work in self._failing:
                self._failing.remove(work)
                if not self._failing:
                    now = self._clock()
                    self._log("database_back", now, seconds=self._seconds(now))

    def _seconds(self, now: float) -> float:
        return round(now - self._lost_at, 1)

    def _log(self, event: str, now: float, **values: str | float) -> None:
        """Log a change or a repetition, with the number of calls that failed since the last line."""
        write = log.warning if event == "database_back" else log.error
        write(event, failed_calls=self._calls, uncertain_calls=self._uncertain, **values)
        self._logged_at = now
        self._calls = self._uncertain = 0


def _first_line(error: BaseException) -> str:
    lines = str(error.__cause__ or error).splitlines()
    return lines[0] if lines else "it does not answer"
