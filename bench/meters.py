"""Meters of processor time: of the load, the server and the database during a measurement."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil


class Usage(NamedTuple):
    """The seconds that a measurement took, and the processor seconds of each part; None without such a part."""

    seconds: float
    load: float
    server: float | None
    database: float | None

    @classmethod
    def total(cls, parts: Sequence[Usage]) -> Usage:
        """Return the sum of measurements of the same parts."""
        server = [part.server for part in parts if part.server is not None]
        database = [part.database for part in parts if part.database is not None]
        return cls(
            sum(part.seconds for part in parts),
            sum(part.load for part in parts),
            sum(server) if server else None,
            sum(database) if database else None,
        )

    def per_call(self, calls: int) -> dict[str, Any]:
        """Return the fields of a sample: microseconds per call."""
        parts = {"load": self.load, "server": self.server, "database": self.database}
        return {
            f"{part}_cpu_us_per_call": None if used is None else used / max(1, calls) * 1e6
            for part, used in parts.items()
        }


class Meter:
    """Measures between ``begin`` and ``end``. This process is the load.

    Args:
        server: the id of the server's process.
        database: the id of the database's first process; all processes below it count, also those that end meanwhile.
    """

    def __init__(self, server: int | None = None, database: int | None = None) -> None:
        self._server = psutil.Process(server) if server else None
        self._database = database

    def begin(self) -> None:
        """Begin to measure."""
        self._before = self._others()
        self._load, self._time = time.process_time(), time.perf_counter()

    def end(self) -> Usage:
        """Return what was used since ``begin``."""
        seconds, load = time.perf_counter() - self._time, time.process_time() - self._load
        server, database = (
            None if after is None or before is None else after - before
            for after, before in zip(self._others(), self._before, strict=True)
        )
        return Usage(seconds, load, server, database)

    def peak_rss_mb(self) -> float | None:
        """Return the peak memory of the server."""
        return peak_rss_mb(self._server) if self._server else None

    def _others(self) -> tuple[float | None, float | None]:
        return (
            cpu_seconds(self._server) if self._server else None,
            tree_cpu_seconds(self._database) if self._database else None,
        )


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def tree_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all below it; a process that ended counts for its parent."""
    root = psutil.Process(pid)
    return sum(map(_with_ended_children, [root, *root.children(recursive=True)]))


def _with_ended_children(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def peak_rss_mb(process: psutil.Process) -> float:
    """Return the peak memory of a process, or its current memory where the system does not record the peak."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return rss_mb(process)


def rss_mb(process: psutil.Process) -> float:
    """Return the current memory of a process."""
    return float(process.memory_info().rss) / 2**20
