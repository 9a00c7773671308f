"""Measures where the time of a call goes, for the log lines of slow calls.

Work runs in batches that several calls share, in a task or in a thread. The task or thread that does the work measures
it. A call finds the stopwatch of its work at its place in the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter
from typing import Literal, TypeVar

Phase = Literal["locked", "database", "packed"]
Result = TypeVar("Result")


class Stopwatch:
    """The seconds that some work spent in each phase.

    ``locked`` is the time to take locks and load the locked rows, ``database`` the time of all other statements, and
    ``packed`` the time of the rest: decisions and responses.
    """

    __slots__ = ("_phase", "_since", "begun", "database", "locked")

    def __init__(self) -> None:
        self.begun: float | None = None
        """When the work began; None while it waits."""
        self.locked = self.database = 0.0
        self._phase: Phase = "packed"
        self._since = 0.0

    def begin(self) -> None:
        """Begin to measure, in the task or thread that does the work."""
        self.begun = self._since = perf_counter()
        _current.set(self)

    def enter(self, phase: Phase) -> None:
        """End the current phase and begin another one."""
        now = perf_counter()
        if self._phase == "locked":
            self.locked += now - self._since
        elif self._phase == "database":
            self.database += now - self._since
        self._phase, self._since = phase, now

    def spent(self, ended: float) -> tuple[float, float]:
        """Return the seconds in ``locked`` and in ``database`` until a time. The work may still go on in its thread."""
        running = ended - self._since
        locked = self.locked + (running if self._phase == "locked" else 0.0)
        return locked, self.database + (running if self._phase == "database" else 0.0)


_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def enter(phase: Phase) -> None:
    """Begin a phase of the work in this task or thread."""
    if stopwatch := _current.get():
        stopwatch.enter(phase)


def current() -> Stopwatch:
    """Return what measures the work of this task, or a stopwatch that nobody reads."""
    return _current.get() or Stopwatch()


def measured(stopwatch: Stopwatch, function: Callable[..., Result], *arguments: object) -> Result:
    """Run a function in this thread and measure it."""
    stopwatch.begin()
    try:
        return function(*arguments)
    finally:
        stopwatch.enter("packed")


def spent(stopwatch: Stopwatch | None, begun: float, ended: float) -> dict[str, float]:
    """Return where the time of a call went, in milliseconds; all of it waiting if no work began."""
    if stopwatch is None or stopwatch.begun is None:
        return {"waited_ms": _milliseconds(ended - begun)}
    waited = max(stopwatch.begun - begun, 0.0)
    locked, database = stopwatch.spent(ended)
    rest = max(ended - begun - waited - locked - database, 0.0)
    return {
        "waited_ms": _milliseconds(waited),
        "locked_ms": _milliseconds(locked),
        "database_ms": _milliseconds(database),
        "packed_ms": _milliseconds(rest),
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
