"""The attempts of students at courses: which is the latest, which is live, which are graded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from registrar_server.core.records import Enrollment
from registrar_server.core.vocabulary import EnrollmentState

Pair = tuple[str, str]

_GRADED = (EnrollmentState.COMPLETED, EnrollmentState.VOIDED)


class Attempts:
    """The loaded enrollments and those that the batch added, by student and course."""

    def __init__(self) -> None:
        self._latest: dict[Pair, Enrollment] = {}
        self._graded: defaultdict[Pair, dict[int, Enrollment]] = defaultdict(dict)
        self._live_by_student: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)
        self._live_by_course: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)

    def add(self, enrollment: Enrollment) -> None:
        """Add an enrollment, or move it out of the live ones after it ended."""
        student_id, course_id = enrollment.student_id, enrollment.course_id
        pair = student_id, course_id
        latest = self._latest.get(pair)
        if latest is None or latest.attempt <= enrollment.attempt:
            self._latest[pair] = enrollment
        if enrollment.live:
            self._live_by_student[student_id][course_id] = enrollment
            self._live_by_course[course_id][student_id] = enrollment
            return
        if self._live_by_student[student_id].get(course_id) is enrollment:
            del self._live_by_student[student_id][course_id], self._live_by_course[course_id][student_id]
        if enrollment.state in _GRADED:
            self._graded[pair][enrollment.attempt] = enrollment

    def next_number(self, student_id: str, course_id: str) -> int:
        """Return the number of the student's next attempt at the course, from 1."""
        latest = self._latest.get((student_id, course_id))
        return 1 if latest is None else latest.attempt + 1

    def live(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's live enrollment in the course, if any."""
        return self._live_by_student[student_id].get(course_id)

    def graded(self, student_id: str, course_id: str) -> Iterator[Enrollment]:
        """Yield the student's completions of the course, also voided ones, the latest first."""
        graded = self._graded.get((student_id, course_id), {})
        return (graded[attempt] for attempt in sorted(graded, reverse=True))

    def live_of_student(self, student_id: str) -> list[Enrollment]:
        """Return a student's live enrollments, in order of course."""
        return [live for _, live in sorted(self._live_by_student[student_id].items())]

    def live_of_course(self, course_id: str) -> list[Enrollment]:
        """Return a course's live enrollments, in order of their numbers."""
        return sorted(self._live_by_course[course_id].values(), key=lambda live: live.number)
