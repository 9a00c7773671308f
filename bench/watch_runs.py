"""The runs of the workloads with watchers."""

from __future__ import annotations

from bench import measurements, messages
from bench.measurements import Case, Sample, by_workload
from bench.systems import BATCHES_IN_FLIGHT, Systems, stored

CALLS = 60
"""How many calls with pauses a run makes, after its warm-up."""
RESERVED = 3_000
"""How many of the last students enroll with single calls, since the others enroll with batches."""
CROWDS_FIRST = 1_000
"""How many students lie between those of the calls with pauses and those of a crowd."""
CONNECTIONS = {measurements.IDLE_WATCHERS: 20, measurements.IDLE_CONNECTIONS: 1_000}
WATCHERS = 1_000


class WatchRuns:
    """Runs these workloads; watchers of a crowd watch for ``idle`` seconds without events.

    ``callers`` is the number of students without courses.
    """

    def __init__(self, systems: Systems, callers: int, warm_up: float, seconds: float, idle: float) -> None:
        self._systems = systems
        self._callers = callers
        self._warm_up = warm_up
        self._seconds = seconds
        self._idle = idle

    def run(self, case: Case, round_number: int) -> dict[Case, Sample]:
        """Return the samples of the run that measures a case."""
        if case.workload in measurements.WATCH_IDLE:
            return self._run_calls(case, round_number)
        for workloads in (measurements.WATCH_HOT, measurements.WATCH_MANY):
            if case.workload in workloads:
                return self._run_batches(case, workloads, round_number)
        if case.workload in measurements.CATCHING_UP:
            samples = self._systems.worker("catching_up").run_all(**self._systems.served(case))
            return by_workload(case, measurements.CATCHING_UP, samples)
        return {case: self._run_crowd(case, round_number)}

    def _run_calls(self, case: Case, round_number: int) -> dict[Case, Sample]:
        with self._systems.another_server(case) as other:
            samples = self._systems.worker("watched_calls").run_all(
                **self._systems.served(case),
                other=other.address,
                round_number=round_number,
                first=self._first_alone(case),
                calls=CALLS,
            )
        return by_workload(case, measurements.WATCH_IDLE, samples)

    def _run_batches(self, case: Case, workloads: tuple[str, str, str], round_number: int) -> dict[Case, Sample]:
        unwatched, watched, _ = workloads
        samples = self._systems.worker("watched_batches").run_all(
            **self._systems.served(case),
            workload=unwatched,
            beside=watched,
            round_number=round_number,
            first=messages.first_caller(stored(case)),
            in_flight=BATCHES_IN_FLIGHT,
            warm_up=self._warm_up,
            seconds=self._seconds,
        )
        return by_workload(case, workloads, samples)

    def _run_crowd(self, case: Case, round_number: int) -> Sample:
        connections = CONNECTIONS[case.workload]
        place = measurements.CROWDS.index(case.workload) + 1
        with self._systems.another_server(case) as server:
            return self._systems.worker("idle_watchers").run(
                address=server.address,
                server=server.pid,
                database=self._systems.database,
                connections=connections,
                each=WATCHERS // connections,
                round_number=round_number,
                first=self._first_alone(case) + CROWDS_FIRST * place,
                seconds=self._idle,
            )

    def _first_alone(self, case: Case) -> int:
        """Return the number of the first student who enrolls with a single call."""
        return messages.first_caller(stored(case)) + self._callers - RESERVED
