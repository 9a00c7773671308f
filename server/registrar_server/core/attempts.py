"""The attempts of students at courses: which is the latest, which is live, which is completed."""

from __future__ import annotations

from collections import defaultdict

from registrar_server.core.records import Enrollment
from registrar_server.core.vocabulary import EnrollmentState

Pair = tuple[str, str]


class Attempts:
    """The loaded enrollments and those that the batch added, by student and course."""

    def __init__(self) -> None:
        self._latest: dict[Pair, Enrollment] = {}
        self._completed: dict[Pair, Enrollment] = {}
        self._live_by_student: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)
        self._live_by_course: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)

    def add(self, enrollment: Enrollment) -> None:
        """Add an enrollment, or move it out of the live ones after it ended."""
        student_id, course_id = enrollment.student_id, enrollment.course_id
        _keep_later(self._latest, enrollment)
        if enrollment.live:
            self._live_by_student[student_id][course_id] = enrollment
            self._live_by_course[course_id][student_id] = enrollment
            return
        if self._live_by_student[student_id].get(course_id) is enrollment:
            del self._live_by_student[student_id][course_id], self._live_by_course[course_id][student_id]
        if enrollment.state == EnrollmentState.COMPLETED:
            _keep_later(self._completed, enrollment)

    def next_number(self, student_id: str, course_id: str) -> int:
        """Return the number of the student's next attempt at the course, from 1."""
        latest = self._latest.get((student_id, course_id))
        return 1 if latest is None else latest.attempt + 1

    def live(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's live enrollment in the course, if any."""
        return self._live_by_student[student_id].get(course_id)

    def completed(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's latest completion of the course, if any."""
        return self._completed.get((student_id, course_id))

    def live_of_student(self, student_id: str) -> list[Enrollment]:
        """Return a student's live enrollments, in order of course."""
        return [live for _, live in sorted(self._live_by_student[student_id].items())]

    def live_of_course(self, course_id: str) -> list[Enrollment]:
        """Return a course's live enrollments, in order of their numbers."""
        return sorted(self._live_by_course[course_id].values(), key=lambda live: live.number)


def _keep_later(by_pair: dict[Pair, Enrollment], enrollment: Enrollment) -> None:
    pair = enrollment.student_id, enrollment.course_id
    known = by_pair.get(pair)
    if known is None or known.attempt <= enrollment.attempt:
        by_pair[pair] = enrollment
