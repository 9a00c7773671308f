"""Many watchers for whom nothing happens, at a server of their own: its processor time and its memory.

At the end one student enrolls, and every watcher must get the event.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil

from bench import driving, measurements, messages
from bench.driving import Connection
from bench.measurements import Sample
from bench.meters import Meter, Usage, rss_mb
from bench.streams import Watchers

TIMEOUT_S = 60.0
CHECKPOINT_S = 10.0
"""A watcher gets a checkpoint at least so often."""


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    connections: int
    each: int
    """The number of watchers of each connection."""
    round_number: int
    first: int
    """The number of the first student who enrolls."""
    seconds: float

    def enroll(self, connection: Connection, place: int) -> None:
        """Enroll one student."""
        pairing = messages.Pairing.of(measurements.WATCH_WRITE, self.round_number)
        request = next(messages.enrollments(pairing, self.first + place)).SerializeToString()
        tally, _ = driving.drive([connection], messages.ENROLL, iter([request]), Meter(), in_flight=1)
        if wrong := tally.failed + messages.wrong_answers(messages.ENROLL, tally.answers):
            raise RuntimeError(f"a student did not enroll: {dict(wrong)}")


def run(**given: Any) -> dict[str, Any]:
    """Run once and return the sample. Its latencies are those of the event, from its time on to each watcher."""
    run = Run(**given)
    meter, process = Meter(run.server, run.database), psutil.Process(run.server)
    with driving.connect(run.address) as [connection]:
        run.enroll(connection, 0)
        alone = _percent(_wait(meter, None, run.seconds))
        rss = rss_mb(process)
        with Watchers([run.address] * run.connections, run.each) as watchers:
            caught_up = watchers.catch_up(TIMEOUT_S)
            beside = _percent(_wait(meter, watchers, run.seconds))
            grown = rss_mb(process) - rss
            run.enroll(connection, 1)
            failed = _wrong(watchers, run.seconds, caught_up=caught_up)
            lags = list(watchers.lags())
    figures: dict[str, Any] = {
        "peak_rss_mb": meter.peak_rss_mb(),
        "rss_growth_mb": grown,
        "core_growth_percent": beside - alone,
    }
    return Sample.of(lags, max(lags, default=1.0), **figures, changes=2, failed=failed).as_dict()


def _wait(meter: Meter, watchers: Watchers | None, seconds: float) -> Usage:
    """Measure for some seconds in which nothing happens."""
    meter.begin()
    if watchers:
        watchers.wait(lambda: False, seconds)
    else:
        time.sleep(seconds)
    return meter.end()


def _percent(usage: Usage) -> float:
    return 100 * (usage.server or 0.0) / usage.seconds


def _wrong(watchers: Watchers, seconds: float, *, caught_up: bool) -> Counter[str]:
    """Count what is wrong if every watcher should have had checkpoints and should now have one event."""
    checkpoints = min(len(stream.checkpoints) for stream in watchers.streams)
    revision = watchers.streams[0].parse().start + 1
    watchers.reach(revision, TIMEOUT_S)
    failed = watchers.wrong_until(revision)
    if not caught_up or checkpoints < seconds // CHECKPOINT_S:
        failed["too few checkpoints"] += 1
    return failed
