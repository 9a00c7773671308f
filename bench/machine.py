"""How quiet the machine is: the processor time of other processes, before and during the measurements."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.meters import tree_cpu_seconds

BEFORE_S = 2.0
SHORTEST_S = 1.0
QUIET_PERCENT = 4.0
QUIET_STEAL_PERCENT = 2.0


class Load(NamedTuple):
    """What others take of all processors, in percent."""

    processes: float
    """The processes that do not belong to the bench."""
    steal: float
    """Other virtual machines."""

    @property
    def quiet(self) -> bool:
        """Whether others hardly matter."""
        return self.processes <= QUIET_PERCENT and self.steal <= QUIET_STEAL_PERCENT

    def __str__(self) -> str:
        return (
            f"other processes took {self.processes:.0f} % of the processors, other virtual machines {self.steal:.0f} %"
        )


class _Reading(NamedTuple):
    """Seconds since some time in the past; a second of each processor counts."""

    available: float
    others: float
    steal: float

    @classmethod
    def now(cls) -> _Reading:
        own = tree_cpu_seconds(os.getpid())
        times = psutil.cpu_times()
        available = time.perf_counter() * (os.cpu_count() or 1)
        return cls(available, times.user + times.nice + times.system - own, getattr(times, "steal", 0.0))

    def since(self, earlier: _Reading) -> _Reading:
        return _Reading(*(now - before for now, before in zip(self, earlier, strict=True)))

    def load(self) -> Load:
        return Load(*(max(0.0, 100 * part / self.available) for part in (self.others, self.steal)))


class Machine:
    """Measures the load before the run, and during each part of it."""

    def __init__(self) -> None:
        before = _Reading.now()
        time.sleep(BEFORE_S)
        self.before = _Reading.now().since(before).load()
        self._parts: dict[str, _Reading] = {}

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Measure during the block, which is one part of the run."""
        before = _Reading.now()
        yield
        self._parts[name] = _Reading.now().since(before)

    def warnings(self) -> list[str]:
        """Return a line for each time when the machine was not quiet."""
        part, busiest = self.busiest
        found = []
        if not self.before.quiet:
            found.append(f"WARNING: the machine was not quiet before the run: {self.before}. Do not trust the figures.")
        if not self.during.quiet:
            found.append(f"WARNING: the machine was not quiet during the run: {self.during}. Do not trust the figures.")
        if not busiest.quiet:
            found.append(f"NOTE: others took most during {part}: {busiest}.")
        return found

    @property
    def during(self) -> Load:
        """The load during all parts together."""
        return _Reading(*map(sum, zip(*self._parts.values(), strict=True))).load() if self._parts else Load(0.0, 0.0)

    @property
    def busiest(self) -> tuple[str, Load]:
        """The part with the highest load. Short parts are left out, since the system counts in units of 10 ms."""
        loads = {name: part.load() for name, part in self._parts.items() if part.available > SHORTEST_S}
        return max(loads.items(), key=lambda part: sum(part[1]), default=("", self.during))


def sync_ms(folder: Path, times: int = 50) -> float:
    """Return how long one fsync of a page takes in a folder, which is the least that a commit takes."""
    file = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT)
    begun = time.perf_counter()
    for _ in range(times):
        os.write(file, b"\0" * 8192)
        os.fsync(file)
    took = time.perf_counter() - begun
    os.close(file)
    return took / times * 1000
