"""Broken messages: the server must refuse each as the caller's fault, keep its memory, and log little."""

from __future__ import annotations

import math
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from bench import broken, driving
from bench.driving import Tally
from bench.measurements import Sample
from bench.meters import Meter, Usage, rss_mb

EXPECTED = "INVALID_ARGUMENT"
WARM_UP = 10
"""One more in so many messages is sent before the measurement."""
SETTLED_S = 0.2


def run(*, address: str, server: int, log: str, count: int, round_number: int, in_flight: int) -> dict[str, Any]:
    """Send ``count`` broken messages, equally many to each RPC, and return the sample."""
    rpcs = broken.rpcs()
    each = math.ceil(count / len(rpcs))
    early = each // WARM_UP
    requests = {path: _requests(kind, early + each, f"{path} {round_number}") for path, kind in rpcs.items()}
    warm = {path: found[:early] for path, found in requests.items()}
    hot = {path: found[early:] for path, found in requests.items()}
    meter, process = Meter(server), psutil.Process(server)
    _send(address, warm, meter, in_flight)
    size, rss = _settled_size(Path(log)), rss_mb(process)
    tally, usage = _send(address, hot, meter, in_flight)
    calls = len(tally.refused) + len(tally.answers)
    logged, grown = _settled_size(Path(log)) - size, rss_mb(process) - rss
    return _sample(tally, usage, meter, rss_growth_mb=grown, log_bytes_per_call=logged / calls).as_dict()


def _requests(kind: Any, count: int, seed: str) -> list[bytes]:
    return list(islice(broken.messages(kind, seed), count))


def _send(address: str, requests: dict[str, list[bytes]], meter: Meter, in_flight: int) -> tuple[Tally, Usage]:
    """Send the messages of one RPC after the other's."""
    tally, used = Tally(), []
    for path, messages in requests.items():
        with driving.connect(address) as connections:
            found, usage = driving.drive(connections, path, iter(messages), meter, in_flight)
        tally.add(found)
        used.append(usage)
    return tally, Usage.total(used)


def _settled_size(file: Path) -> int:
    """Return the size of a log when nothing more is written to it."""
    size = -1
    while size != (size := file.stat().st_size):
        time.sleep(SETTLED_S)
    return size


def _sample(tally: Tally, usage: Usage, meter: Meter, **figures: Any) -> Sample:
    statuses = Counter({"OK": len(tally.answers)} if tally.answers else {})
    for failure, number in tally.failed.items():
        statuses[failure.partition(":")[0]] += number
    return Sample.of(
        tally.latencies + tally.refused,
        usage.seconds,
        peak_rss_mb=meter.peak_rss_mb(),
        statuses=statuses,
        failed={f"answered with {status}": number for status, number in statuses.items() if status != EXPECTED},
        **usage.per_call(sum(statuses.values())),
        **figures,
    )
