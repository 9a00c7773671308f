"""Measure, print one table, write ``bench/results.json``: ``make bench``, ``make bench ARGS="--only hot"``."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

from bench import report, targets
from bench.samples import Case, Sample
from bench.stage import NotFound, Pace, Stage
from registrar_server import logs

RESULTS = Path(__file__).with_name("results.json")
USUAL = Pace(warm_up=1.0, seconds=3.0, rounds=3)
QUICK = Pace(warm_up=0.5, seconds=1.0, rounds=1)

CAPTION = (
    "64 calls in flight unless the workload says otherwise. {postgresql} and SQLite, both durable (fsync on,"
    " synchronous FULL); one fsync takes {sync:.2f} ms here. The server runs with its default settings and writes its"
    " JSON log, level info, to a file; pgbench and the ORM baseline log nothing. Medians of {rounds} rounds"
    " [lowest..highest]; ratios are taken within a round. CPU and RSS are those of the server process, without the"
    " database's."
)


def main() -> int:
    """Run the bench; the exit status is 1 if any call or count was wrong."""
    given = _arguments()
    chosen = targets.chosen(given.only)
    pace = (QUICK if given.quick else USUAL)._replace(**({"rounds": given.rounds} if given.rounds else {}))
    logs.configure(level="warning")
    with Stage(pace) as stage:
        caption = CAPTION.format(postgresql=stage.version(), sync=stage.sync_ms(), rounds=pace.rounds)
        results = _measure(stage, targets.cases(chosen), pace.rounds)
    made = report.rows(chosen, results)
    RESULTS.write_text(json.dumps(report.as_objects(made), indent=2, ensure_ascii=False) + "\n")
    complaints = report.complaints(made)
    print("\n".join(["", textwrap.fill(caption, 120), "", report.as_text(made), "", *complaints]))
    return 1 if complaints else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, roughly how fast")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=targets.GROUPS,
        default=targets.USUAL_GROUPS,
        help="what to measure; grown, which seeds a million enrollments, runs only when named",
    )
    return parser.parse_args()


def _measure(stage: Stage, cases: list[Case], rounds: int) -> dict[Case, list[Sample]]:
    """Go through all cases, then through all again, so that what else the machine does hits all alike."""
    results: dict[Case, list[Sample]] = defaultdict(list)
    for round_number in range(rounds):
        for case in cases:
            _show(f"round {round_number + 1} of {rounds}: {', '.join(filter(None, case))}")
            try:
                results[case].append(stage.run(case, round_number))
            except NotFound:
                results[case] = []
    _show("")
    return results


def _show(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
