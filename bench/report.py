"""The report: a table for people and one object per row for programs, made from the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.measurements import Case, Sample
from bench.targets import Target

Results = Mapping[Case, Sequence[Sample]]

HEADINGS = (
    *("workload", "database", "system", "calls/s", "p50 ms", "p99 ms", "server µs", "database µs", "load µs", "RSS MB"),
    *("failed", "compared"),
)
NUMBERS = range(HEADINGS.index("calls/s"), HEADINGS.index("compared"))


@dataclass(frozen=True)
class Row:
    """A measured case, with its target if Registrar is measured."""

    case: Case
    samples: Sequence[Sample]
    target: Target | None = None
    ratios: Sequence[float] = ()

    @property
    def system(self) -> str:
        """The name of the system; that of pgbench says with how many clients."""
        clients = self.samples[0].clients if self.samples else None
        return f"{self.case.system}, {clients} clients" if clients else self.case.system

    @property
    def failed(self) -> int:
        """The number of failed calls in all rounds."""
        return sum(sum(sample.failed.values()) for sample in self.samples)

    def median(self, figure: Callable[[Sample], float | None]) -> float | None:
        """Return the median of a figure over the rounds, or None if it was not measured."""
        found = [value for sample in self.samples if (value := figure(sample)) is not None]
        return median(found) if found else None


def rows(targets: Sequence[Target], results: Results) -> list[Row]:
    """Return the rows in the order of the targets; each baseline appears once, after the first target that needs it."""
    made: list[Row] = []
    shown: set[Case] = set()
    for target in targets:
        made.append(_own_row(target, results))
        for case in target.against:
            if case not in shown and all(case != other.ours for other in targets):
                made.append(Row(case, results[case]))
            shown.add(case)
    return made


def _own_row(target: Target, results: Results) -> Row:
    rounds = zip(results[target.ours], *(results[case] for case in target.against), strict=False)
    ratios = [target.ratio(ours, against) for ours, *against in rounds]
    return Row(target.ours, results[target.ours], target, ratios)


def as_objects(made: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the content of ``results.json``: medians over the rounds."""
    return [
        {
            "workload": row.case.workload,
            "database": row.case.database or None,
            "system": row.case.system,
            "clients": row.samples[0].clients if row.samples else None,
            "calls_per_s": _rounded(row.median(lambda sample: sample.calls_per_s)),
            "p50_ms": _rounded(row.median(lambda sample: sample.p50_ms)),
            "p99_ms": _rounded(row.median(lambda sample: sample.p99_ms)),
            "server_cpu_us_per_call": _rounded(row.median(lambda sample: sample.server_cpu_us_per_call)),
            "database_cpu_us_per_call": _rounded(row.median(lambda sample: sample.database_cpu_us_per_call)),
            "load_cpu_us_per_call": _rounded(row.median(lambda sample: sample.load_cpu_us_per_call)),
            "peak_rss_mb": _rounded(row.median(lambda sample: sample.peak_rss_mb)),
            "statuses": _statuses(row) or None,
            "measure": row.target.measure.value if row.target else None,
            "ratio_to": (row.target.ratio_to or None) if row.target else None,
            "ratio": _rounded(median(row.ratios)) if row.ratios else None,
            "must": row.target.must if row.target else None,
            "aim": row.target.aim if row.target else None,
        }
        for row in made
    ]


def _statuses(row: Row) -> dict[str, int]:
    return dict(sum((Counter(sample.statuses) for sample in row.samples), Counter()))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_text(made: Sequence[Row]) -> str:
    """Return the table."""
    lines = [HEADINGS, *map(_cells, made)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in NUMBERS else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    # Baselines are indented below the row that is compared with them.
    workload = row.case.workload if row.target else f"  {row.case.workload}"
    if not row.samples:
        missing = [""] * (len(NUMBERS) - 1)
        return (workload, row.case.database, row.system, "not found", *missing, _compared(row))
    return (
        workload,
        row.case.database,
        row.system,
        _with_range([sample.calls_per_s for sample in row.samples], "{:,.0f}"),
        _with_range([sample.p50_ms for sample in row.samples], "{:.2f}"),
        _number(row.median(lambda sample: sample.p99_ms), "{:.1f}"),
        _number(row.median(lambda sample: sample.server_cpu_us_per_call), "{:.0f}"),
        _number(row.median(lambda sample: sample.database_cpu_us_per_call), "{:.0f}"),
        _number(row.median(lambda sample: sample.load_cpu_us_per_call), "{:.0f}"),
        _number(row.median(lambda sample: sample.peak_rss_mb), "{:.0f}"),
        str(row.failed),
        _compared(row),
    )


def _compared(row: Row) -> str:
    if row.target is None:
        return ""
    target, sign = row.target, "≥" if row.target.measure.more_is_better else "≤"
    if not row.ratios:
        return f"{target.measure.value}: nothing to compare with ({target.ratio_to})"
    ratio = median(row.ratios)
    verdict = " and ".join(
        f"{sign} {goal:g} {'met' if target.reached(ratio, goal) else 'MISSED'}" for goal in target.goals
    )
    if target.against:
        found = f"{target.measure.value} {_with_range(row.ratios, '{:.2f}')}x {target.ratio_to}"
    else:
        found = f"{target.measure.value} {_with_range(row.ratios, '{:,.1f}')}"
    return f"{found}: {verdict}" if verdict else found


def _with_range(values: Sequence[float], form: str) -> str:
    middle = form.format(median(values))
    if len(values) < 2:
        return middle
    return f"{middle} [{form.format(min(values))}..{form.format(max(values))}]"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def statuses(made: Sequence[Row]) -> list[str]:
    """Return one line per case that counts statuses."""
    return list(
        dict.fromkeys(
            f"{', '.join(filter(None, row.case))}: "
            + ", ".join(f"{number:,} {status}" for status, number in sorted(found.items()))
            for row in made
            if (found := _statuses(row))
        )
    )


def pgbench_rates(rates: Mapping[str, Mapping[int, float]]) -> list[str]:
    """Return one line per workload with the rate of pgbench for each number of clients."""
    return [
        f"pgbench, {workload}, calls/s by number of clients: "
        + ", ".join(f"{clients}: {rate:,.0f}" for clients, rate in tried.items())
        + ". The best number is used above."
        for workload, tried in rates.items()
    ]


def complaints(made: Sequence[Row]) -> list[str]:
    """Return one line per case and kind of failure, with the number of failures."""
    found: dict[Case, dict[str, int]] = {}
    for row in made:
        counted: dict[str, int] = {}
        for sample in row.samples:
            for what, number in sample.failed.items():
                counted[what] = counted.get(what, 0) + number
        found[row.case] = counted
    return [
        f"{', '.join(filter(None, case))}: {number} times {what}"
        for case, counted in found.items()
        for what, number in counted.items()
    ]


def extent(verified: Mapping[Case, Sequence[str]]) -> str:
    """Report how many stores agree."""
    agreeing = sum(not found for found in verified.values())
    return f"registrar-server verify: {agreeing} of the {len(verified)} stores that Registrar changed agree."


def disagreements(verified: Mapping[Case, Sequence[str]]) -> list[str]:
    """Return one line per case with disagreements: their number and the first, which may have caused the others."""
    return [
        f"{', '.join(filter(None, case))}: {len(found)} disagreements, the first: {found[0]}"
        for case, found in verified.items()
        if found
    ]
