"""A process that loads enrollments with ``RegistrarClient.bulk``, and reports its own memory and processor time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import psutil

from bench.messages import COURSES, student_id
from bench.meters import rss_mb
from registrar_client import Enrolled, RegistrarClient, writes
from registrar_client.writes import Write

EACH = 10
"""The courses of each student. Ten neighbours among the courses do not overlap in time."""
APART = 1_237
"""The distance between the courses of one student and the next. Without a common divisor with the number of courses,
all courses get equally many students, and the rows of a chunk name hundreds of courses."""
SETTLED = 0.1
"""After this share of the rows, the memory should not grow any more."""


def enrollments(first: int, students: int) -> Iterator[Write[Enrolled]]:
    """Yield the enrollments of so many students, all of one student together."""
    for number in range(first, first + students):
        for place in range(EACH):
            course = (number * APART + place) % COURSES
            yield writes.enroll(student_id=student_id(number), course_id=f"C-{course}")


class Progress:
    """Notes when each chunk is done, and how much memory this process then has."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._process = psutil.Process()
        self._memory: list[float] = []
        self._last = time.perf_counter()
        self.latencies: list[float] = []

    def note(self, done: int, refused: int, _total: int | None) -> None:
        """Note the end of a chunk."""
        now = time.perf_counter()
        self.latencies.append(now - self._last)
        self._last = now
        if done + refused >= SETTLED * self._rows:
            self._memory.append(rss_mb(self._process))

    @property
    def growth_mb(self) -> float:
        """The memory at its peak beyond the memory after the first chunks."""
        return max(self._memory) - self._memory[0]


def main() -> None:
    """Load the enrollments and write one line of JSON."""
    address, first, students = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    progress = Progress(students * EACH)
    with RegistrarClient(address) as registrar:
        report = registrar.bulk(enrollments(first, students), on_progress=progress.note)
    found = {
        "done": report.done,
        "refused": dict(report.refused),
        "seconds": report.seconds,
        "latencies": progress.latencies,
        "growth_mb": progress.growth_mb,
        "cpu_seconds": time.process_time(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
