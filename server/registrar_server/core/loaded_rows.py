"""The rows that a batch has loaded, and what decisions read in them.

Later commands of a batch see what earlier ones decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from registrar_server.core.attempts import Attempts
from registrar_server.core.queue import Queues
from registrar_server.core.records import Commitment, Course, Enrollment, Passed, Student, Subject
from registrar_server.core.rules import Case
from registrar_server.core.transcripts import Transcripts
from registrar_server.errors import course_not_found, student_not_found


class LoadedRows:
    """The rows of a batch at the time ``now`` (microseconds since 1970 UTC)."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.students: dict[str, Student] = {}
        self.courses: dict[str, Course] = {}
        self.enrollments: dict[str, Enrollment] = {}
        """The enrollments that commands name by their ids."""
        self._attempts = Attempts()
        self._queues = Queues()
        self._transcripts = Transcripts(self.courses)

    def load(
        self,
        students: Iterable[Student] = (),
        courses: Iterable[Course] = (),
        enrollments: Iterable[Enrollment] = (),
    ) -> None:
        """Add rows as the database has them."""
        self.students.update((student.student_id, student) for student in students)
        self.courses.update((course.course_id, course) for course in courses)
        for enrollment in enrollments:
            self._load_enrollment(enrollment)

    def load_queue(self, course: Course, waiters: Collection[Enrollment]) -> None:
        """Add the first waiters of a course, or all of them, in the order of the queue."""
        if not waiters and not course.waitlisted_count:
            return  # Most courses have no waiters, and an empty queue is whole when the first one joins.
        queue = self._queues.of(course.course_id)
        queue.load([self._known_waiter(waiter) for waiter in waiters], course.waitlisted_count)

    def load_transcripts(
        self,
        commitments: Iterable[Commitment] = (),
        passed: Iterable[Passed] = (),
        subjects: Iterable[Subject] = (),
    ) -> None:
        """Add the seats of students, what they have passed, and the codes of prerequisites."""
        self._transcripts.load(commitments, passed, subjects)

    def _known_waiter(self, waiter: Enrollment) -> Enrollment:
        # One row must be one record, whichever statement found it first.
        known = self.live(waiter.student_id, waiter.course_id)
        if known is None:
            self._load_enrollment(waiter)
        return known or waiter

    def _load_enrollment(self, enrollment: Enrollment) -> None:
        self._attempts.add(enrollment)
        if enrollment.waits:
            self._queues.of(enrollment.course_id).load_position(enrollment)

    def student(self, student_id: str) -> Student:
        """Return a student that is not deleted, or refuse with STUDENT_NOT_FOUND."""
        student = self.students.get(student_id)
        if student is None or student.delete_time is not None:
            raise student_not_found(student_id)
        return student

    def course(self, course_id: str) -> Course:
        """Return a course that is not deleted, or refuse with COURSE_NOT_FOUND."""
        course = self.courses.get(course_id)
        if course is None or course.delete_time is not None:
            raise course_not_found(course_id)
        return course

    def knows_course(self, course_id: str) -> bool:
        """Return whether a course has this id, deleted or not; the batch's scope must name it."""
        return self._transcripts.knows_course(course_id)

    def live(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's live enrollment in the course, if any."""
        return self._attempts.live(student_id, course_id)

    def completions(self, student_id: str, course_id: str) -> Iterator[Enrollment]:
        """Yield the student's completions of the course, also voided ones, the latest first."""
        return self._attempts.graded(student_id, course_id)

    def live_of_student(self, student_id: str) -> list[Enrollment]:
        """Return a student's live enrollments, in order of course; the batch's scope must name the student for it."""
        return self._attempts.live_of_student(student_id)

    def live_of_course(self, course_id: str) -> list[Enrollment]:
        """Return a course's live enrollments, in order of number; the batch's scope must name the course for it."""
        return self._attempts.live_of_course(course_id)

    def waiters(self, course_id: str) -> Iterator[Enrollment]:
        """Yield the waiters of a course in order, without blocked ones.

        Raises ``OutOfWaiters`` after the last loaded one if more wait.
        """
        return self._queues.of(course_id).waiters(self.courses[course_id].waitlisted_count)

    def waiters_needed(self, course_id: str) -> int:
        """Return the number of first waiters of a course that decisions have looked at."""
        return self._queues.of(course_id).needed

    def position(self, waiter: Enrollment) -> int:
        """Return the position of a waiter on the waitlist, from 1."""
        return self._queues.of(waiter.course_id).position(waiter)

    def case(self, student: Student, course: Course, *, without: str = "") -> Case:
        """Return the input of the rules; the seat in the course ``without`` counts as given up."""
        return self._transcripts.case(student, course, self.now, without=without)

    def block(self, waiters: Iterable[Enrollment]) -> None:
        """Note that the rules refuse these waiters, and that the history says so."""
        for waiter in waiters:
            self._queues.block(waiter)

    def unblock(self, student_id: str) -> None:
        """Note that another bid of the student may have another verdict."""
        self._queues.unblock(student_id)
