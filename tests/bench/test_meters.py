"""The meters of processor time, on real processes."""

from __future__ import annotations

import subprocess
import sys

from bench.meters import Meter, Usage, tree_cpu_seconds

WORK = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
WORK_BELOW = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORK!r}]); print(flush=True); input()"


def test_a_process_counts_with_the_processes_below_it_that_have_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK_BELOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        parent.stdout.readline()
        assert tree_cpu_seconds(parent.pid) >= 0.2
        parent.communicate("\n")


def test_this_process_is_the_load() -> None:
    meter = Meter()
    meter.begin()
    exec(WORK)
    usage = meter.end()
    assert usage.load >= 0.2
    assert (usage.server, usage.database) == (None, None)


def test_the_usage_is_told_per_call() -> None:
    assert Usage(seconds=2.0, load=0.5, server=1.0, database=None).per_call(10_000) == {
        "load_cpu_us_per_call": 50.0,
        "server_cpu_us_per_call": 100.0,
        "database_cpu_us_per_call": None,
    }
