"""Many callers of the async client, each with one call after the other, with and without ``gather``."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench import measurements, messages
from bench.measurements import Sample
from bench.messages import Pairing
from bench.meters import Meter
from registrar_client import AsyncRegistrarClient, Enrolled, EnrollmentState, RegistrarError


@dataclass
class Run:
    """The parameters of one run."""

    address: str
    server: int
    database: int | None
    workload: str
    round_number: int
    first: int
    """The number of the first student who enrolls."""
    callers: int
    warm_up: float
    seconds: float


@dataclass
class Calls:
    """The calls that have ended."""

    latencies: list[float] = field(default_factory=list)
    answers: list[tuple[str, str, Enrolled]] = field(default_factory=list)
    """The student, the course and the result of each call that succeeded."""
    failed: Counter[str] = field(default_factory=Counter)

    def wrong_answers(self) -> int:
        """Return the number of wrong answers."""
        ids = {enrolled.enrollment_id for _, _, enrolled in self.answers}
        wrong = [
            student
            for student, course, enrolled in self.answers
            if (enrolled.student_id, enrolled.course_id, enrolled.state) != (student, course, EnrollmentState.ENROLLED)
        ]
        return len(wrong) + len(self.answers) - len(ids)


def run(**given: Any) -> dict[str, Any]:
    """Run once and return the sample."""
    return asyncio.run(_run(Run(**given))).as_dict()


async def _run(run: Run) -> Sample:
    pairing = Pairing.of(run.workload, run.round_number)
    numbers, meter = itertools.count(run.first), Meter(run.server, run.database)
    gather = run.workload == measurements.GATHERED
    async with AsyncRegistrarClient(run.address, gather=gather) as registrar:
        warm = await _drive(run.callers, registrar, pairing, numbers, run.warm_up)
        meter.begin()
        hot = await _drive(run.callers, registrar, pairing, numbers, run.seconds)
        usage = meter.end()
    failed = warm.failed + hot.failed
    if wrong := warm.wrong_answers() + hot.wrong_answers():
        failed["wrong answer"] = wrong
    return Sample.of(
        hot.latencies,
        usage.seconds,
        peak_rss_mb=meter.peak_rss_mb(),
        changes=len(warm.answers) + len(hot.answers),
        failed=failed,
        **usage.per_call(len(hot.latencies)),
    )


async def _drive(
    callers: int, registrar: AsyncRegistrarClient, pairing: Pairing, numbers: Iterator[int], seconds: float
) -> Calls:
    """Let so many callers enroll one student after the other, until the time is over."""
    calls = Calls()
    end = time.perf_counter() + seconds

    async def call() -> None:
        while (begun := time.perf_counter()) < end:
            number = next(numbers)
            student, course = messages.student_id(number), pairing.course_id(number)
            try:
                enrolled = await registrar.enroll(student_id=student, course_id=course)
            except RegistrarError as error:
                calls.failed[f"{type(error).__name__}: {error}"[:200]] += 1
            else:
                calls.latencies.append(time.perf_counter() - begun)
                calls.answers.append((student, course, enrolled))

    await asyncio.gather(*(call() for _ in range(callers)))
    return calls
