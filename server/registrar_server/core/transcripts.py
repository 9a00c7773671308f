"""What students take and what they have passed, as far as the rules need it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from registrar_server.core.records import Commitment, Course, Enrollment, Passed, Student, Subject
from registrar_server.core.rules import Case
from registrar_server.core.vocabulary import CourseState

# Every case is compared with it, and a member of an enum takes long to look up.
_CANCELLED = CourseState.CANCELLED


class Transcripts:
    """The seats and the passed courses of the students who ask for a seat, as the batch has left them so far."""

    def __init__(self, courses: Mapping[str, Course]) -> None:
        self._courses = courses
        self._commitments: defaultdict[str, dict[str, Commitment | Course]] = defaultdict(dict)
        self._passed: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._codes: dict[str, str] = {}

    def load(self, commitments: Iterable[Commitment], passed: Iterable[Passed], subjects: Iterable[Subject]) -> None:
        """Add loaded seats, passed enrollments, and the codes of prerequisites."""
        for seat in commitments:
            self._commitments[seat.student_id][seat.course_id] = seat
        self._codes.update((subject.course_id, subject.code) for subject in subjects)
        for one in passed:
            self._passed[one.student_id][one.enrollment_id] = one.course_id
            self._codes[one.course_id] = one.code

    def knows_course(self, course_id: str) -> bool:
        """Return whether a loaded course or a prerequisite that the batch names has this id, deleted or not."""
        return course_id in self._courses or course_id in self._codes

    def take_seat(self, student_id: str, course: Course) -> None:
        """Add a seat."""
        self._commitments[student_id][course.course_id] = course

    def give_up_seat(self, student_id: str, course_id: str) -> None:
        """Remove a seat."""
        self._commitments[student_id].pop(course_id, None)

    def complete(self, enrollment: Enrollment) -> None:
        """Note whether a completed enrollment counts as passed."""
        passed = self._passed[enrollment.student_id]
        if enrollment.passed:
            passed[enrollment.enrollment_id] = enrollment.course_id
        else:
            passed.pop(enrollment.enrollment_id, None)

    def void(self, enrollment: Enrollment) -> None:
        """Note that a completion no longer counts, whether it was passed or not."""
        self._passed[enrollment.student_id].pop(enrollment.enrollment_id, None)

    def case(self, student: Student, course: Course, now: int, *, without: str = "") -> Case:
        """Return the input of the rules; the seat in the course ``without`` counts as given up."""
        # A course that the batch has loaded is newer than the commitment that was read with the seat, and the batch may
        # have cancelled or reopened it. A cancelled course does not bind its students.
        commitments = []
        for course_id, held in self._commitments[student.student_id].items():
            newest = self._courses.get(course_id, held)
            if course_id != without and newest.state != _CANCELLED:
                commitments.append(newest)
        if not course.prerequisite_course_ids:
            return Case(student, course, now, commitments)
        prerequisites = tuple(map(self._subject, course.prerequisite_course_ids))
        passed = tuple(map(self._subject, self._passed[student.student_id].values()))
        return Case(student, course, now, commitments, prerequisites, passed)

    def _subject(self, course_id: str) -> Subject:
        course = self._courses.get(course_id)
        return Subject(course_id, self._codes.get(course_id, "") if course is None else course.code)
