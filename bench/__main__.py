"""Run the bench, print one table and write ``bench/results.json``: ``make bench``, ``make bench ARGS="--only hot"``."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import measurements, report, targets
from bench.machine import Machine, sync_ms
from bench.measurements import Case, Sample
from bench.messages import ROUNDS, Crowd, Queue
from bench.stage import NotFound, Pace, Stage
from bench.systems import BATCHES_IN_FLIGHT
from registrar_server import logs

RESULTS = Path(__file__).with_name("results.json")
QUEUE = Queue(waiters=5_000, alone=20, together=640)
USUAL = Pace(
    warm_up=1.0,
    seconds=3.0,
    rounds=3,
    crowd=Crowd(students=10_000, seats=1_000, drops=500),
    queue=QUEUE,
    broken=100_000,
    bulk=100_000,
    idle=22.0,
)
QUICK = Pace(
    warm_up=0.5,
    seconds=1.0,
    rounds=1,
    crowd=Crowd(students=1_000, seats=100, drops=50),
    queue=QUEUE,
    broken=10_000,
    bulk=10_000,
    idle=11.0,
)

CAPTION = (
    "64 calls in flight unless the workload says otherwise. {postgresql} and SQLite, both durable (fsync on,"
    " synchronous FULL); one fsync takes {sync:.2f} ms here. The server runs with its default settings and writes its"
    " JSON log, level info, to a file; pgbench and the ORM baseline log nothing. In each round, {students:,} students"
    " enroll in the waitlisted course, which has {seats:,} seats, and {drops:,} of those with a seat drop. {waiters:,}"
    " students with holds wait for a course with free seats, and {alone:,} and {together:,} newcomers get some of them."
    " {batches} batches are in flight; each of their writes counts as a call, and the latencies are those of batches."
    " Latencies of watchers begin with the call whose event they get, or with the time of the event beside batches and"
    " for a crowd of them; one that catches up gets each event as a call."
    " Medians of {rounds} rounds [lowest..highest]; ratios compare samples of the same round. The columns in µs are the"
    " processor time per call of the server, of all processes of PostgreSQL (SQLite runs in the server) and of the"
    " process that sends the calls. RSS is the server's. Before the run, {machine}."
)


def main() -> int:
    """Run the bench; return 1 if a call failed, a count is wrong or the stored data disagree."""
    given = _arguments()
    pace = (QUICK if given.quick else USUAL)._replace(**({"rounds": given.rounds} if given.rounds else {}))
    chosen = targets.chosen(given.only or (targets.QUICK_GROUPS if given.quick else targets.DEFAULT_GROUPS))
    logs.configure(level="warning")
    machine = Machine()
    with Stage(pace, given.connections) as stage:
        caption = _caption(stage, pace, machine)
        results = _measure(stage, machine, targets.cases(chosen), pace.rounds)
        made = report.rows(chosen, results)
        RESULTS.write_text(json.dumps(_objects(stage, machine, made), indent=2, ensure_ascii=False) + "\n")
        verified = _verify(stage)
    complaints = [*report.complaints(made), *report.disagreements(verified)]
    notes = [*report.pgbench_rates(stage.pgbench_rates), *report.statuses(made), report.extent(verified)]
    print("\n".join(["", caption, "", report.as_text(made), "", *notes, *machine.warnings(), *complaints]))
    return 1 if complaints else 0


def _caption(stage: Stage, pace: Pace, machine: Machine) -> str:
    caption = CAPTION.format(
        postgresql=stage.version(),
        sync=sync_ms(stage.folder),
        rounds=pace.rounds,
        machine=machine.before,
        batches=BATCHES_IN_FLIGHT,
        **pace.crowd._asdict(),
        **pace.queue._asdict(),
    )
    return textwrap.fill(caption, 120)


def _objects(stage: Stage, machine: Machine, made: Sequence[report.Row]) -> dict[str, Any]:
    return {
        "others_percent_before": machine.before._asdict(),
        "others_percent_during": machine.during._asdict(),
        "pgbench_calls_per_s_by_clients": stage.pgbench_rates,
        "rows": report.as_objects(made),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run one short round, for a rough result")
    parser.add_argument("--rounds", type=int, choices=range(1, ROUNDS + 1), metavar="N", help=f"1 to {ROUNDS} rounds")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=targets.GROUPS,
        help="measure only these groups (default: all except broken and bulk, which loads a million enrollments;"
        " with --quick not grown either, which seeds as many twice)",
    )
    parser.add_argument(
        "--connections",
        type=int,
        choices=range(1, 65),
        default=1,
        metavar="N",
        help="connections of the load (default: 1)",
    )
    return parser.parse_args()


def _measure(stage: Stage, machine: Machine, cases: list[Case], rounds: int) -> dict[Case, list[Sample]]:
    """Run all cases in every round, so that other load on the machine affects all cases alike."""
    results: dict[Case, list[Sample]] = defaultdict(list)
    for round_number in range(rounds):
        for case in cases:
            if round_number and case.workload in measurements.BULKY:
                continue
            part = f"round {round_number + 1} of {rounds}: {', '.join(filter(None, case))}"
            _show(part)
            try:
                with machine.watch(part):
                    results[case].append(stage.run(case, round_number))
            except NotFound:
                results[case] = []
    _show("")
    return results


def _verify(stage: Stage) -> dict[Case, list[str]]:
    _show("verifying the databases of Registrar")
    verified = stage.verify()
    _show("")
    return verified


def _show(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
