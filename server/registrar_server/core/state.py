"""What one batch sees and changes: the loaded rows, as the commands decided so far have left them.

Decisions read records here. A decision may set the fields of a record, and then calls the method that makes the change:
each such method updates the indexes and counters, notes the records in the journal, and adds the one event that reports
the change. Later commands of a batch see what earlier ones decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from registrar_server.core.attempts import Attempts
from registrar_server.core.journal import Journal
from registrar_server.core.queue import Queue
from registrar_server.core.records import Change, Commitment, Course, Enrollment, Passed, Student, Subject
from registrar_server.core.rules import Case
from registrar_server.core.transcripts import Transcripts
from registrar_server.core.vocabulary import EnrollmentState, EventType
from registrar_server.errors import Violation, course_not_found, student_not_found

_OPENED = {
    EnrollmentState.ENROLLED: EventType.STUDENT_ENROLLED,
    EnrollmentState.WAITLISTED: EventType.STUDENT_WAITLISTED,
}


class State:
    """The rows of a batch at the time ``now`` (microseconds since 1970 UTC)."""

    def __init__(self, now: int, new_id: Callable[[int], str]) -> None:
        self.now = now
        self.journal = Journal(now, new_id)
        self.students: dict[str, Student] = {}
        self.courses: dict[str, Course] = {}
        self.enrollments: dict[str, Enrollment] = {}
        """The enrollments that commands name by their ids."""
        self._attempts = Attempts()
        self._queues: dict[str, Queue] = {}
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

    def load_queue(self, course: Course, waiters: Iterable[Enrollment]) -> None:
        """Add the first waiters of a course, or all of them, in the order of the queue."""
        queue = self._queue(course.course_id)
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
            self._queue(enrollment.course_id).load_position(enrollment)

    def _queue(self, course_id: str) -> Queue:
        queue = self._queues.get(course_id)
        if queue is None:
            queue = self._queues[course_id] = Queue(course_id)
        return queue

    # What decisions read.

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
        """Yield the waiters of a course in order; raises ``OutOfWaiters`` after the last loaded one if more wait."""
        return self._queue(course_id).waiters(self.courses[course_id].waitlisted_count)

    def position(self, waiter: Enrollment) -> int:
        """Return the position of a waiter on the waitlist, from 1."""
        return self._queue(waiter.course_id).position(waiter)

    def case(self, student: Student, course: Course, *, without: str = "") -> Case:
        """Return the input of the rules; the seat in the course ``without`` counts as given up."""
        return self._transcripts.case(student, course, self.now, without=without)

    # What decisions change.

    def add_student(self, student: Student, changes: tuple[Change, ...]) -> None:
        """Add a new student."""
        self.students[student.student_id] = self.journal.added_students[student.student_id] = student
        self.journal.record_student(EventType.STUDENT_CREATED, student, changes=changes)

    def change_student(
        self, type: EventType, student: Student, *, reason: str = "", changes: tuple[Change, ...] = ()
    ) -> None:
        """Note a change that a decision made to a student's fields."""
        self.journal.change_student(student)
        self.journal.record_student(type, student, reason=reason, changes=changes)

    def add_course(self, course: Course, changes: tuple[Change, ...]) -> None:
        """Add a new course."""
        self.courses[course.course_id] = self.journal.added_courses[course.course_id] = course
        self.journal.record_course(EventType.COURSE_CREATED, course, changes)

    def change_course(self, type: EventType, course: Course, changes: tuple[Change, ...] = ()) -> None:
        """Note a change that a decision made to a course's fields."""
        self.journal.change_course(course)
        self.journal.record_course(type, course, changes)

    def open_enrollment(
        self,
        student: Student,
        course: Course,
        standing: EnrollmentState,
        bypassed_rules: tuple[str, ...],
        *,
        reason: str,
        comment: str,
    ) -> Enrollment:
        """Give a student a seat, or the last position on the waitlist."""
        enrollment = self._new_enrollment(student, course, standing, bypassed_rules)
        self._occupy(course, enrollment)
        self._attempts.add(enrollment)
        self.journal.record_enrollment(_OPENED[standing], course, enrollment, reason=reason, comment=comment)
        return enrollment

    def promote(self, course: Course, waiter: Enrollment, *, reason: str = "", comment: str = "") -> None:
        """Give a waiter a seat."""
        self._vacate(course, waiter)
        waiter.state = EnrollmentState.ENROLLED
        self._occupy(course, waiter)
        self.journal.change_enrollment(waiter)
        self.journal.record_enrollment(
            EventType.STUDENT_PROMOTED,
            course,
            waiter,
            previous_state=EnrollmentState.WAITLISTED,
            reason=reason,
            comment=comment,
        )

    def skip(self, course: Course, waiter: Enrollment, obstacles: tuple[Violation, ...]) -> None:
        """Note the rules that keep a waiter from a free seat; the waiter stays on the waitlist."""
        waiter.last_skip = obstacles
        self.journal.touch_enrollment(waiter)
        self.journal.record_enrollment(
            EventType.PROMOTION_SKIPPED,
            course,
            waiter,
            previous_state=EnrollmentState.WAITLISTED,
            violations=obstacles,
        )

    def drop(self, course: Course, enrollment: Enrollment, *, reason: str, comment: str) -> None:
        """End a live enrollment as DROPPED; ``reason`` is the reason in the event."""
        previous = enrollment.state
        self._end(course, enrollment, EnrollmentState.DROPPED)
        self.journal.change_enrollment(enrollment)
        self.journal.record_enrollment(
            EventType.STUDENT_UNENROLLED, course, enrollment, previous_state=previous, reason=reason, comment=comment
        )

    def complete(
        self, course: Course, enrollment: Enrollment, grade: str, passed: bool, changes: tuple[Change, ...] = ()
    ) -> None:
        """End a seat as COMPLETED, or correct an earlier completion; ``changes`` describes the correction."""
        previous = enrollment.state
        enrollment.grade, enrollment.passed = grade, passed
        if enrollment.live:
            self._end(course, enrollment, EnrollmentState.COMPLETED)
        self._transcripts.complete(enrollment)
        self.journal.change_enrollment(enrollment)
        self.journal.record_enrollment(
            EventType.ENROLLMENT_COMPLETED, course, enrollment, previous_state=previous, changes=changes
        )

    def void(self, course: Course, enrollment: Enrollment, reason: str) -> None:
        """Declare a completion void."""
        enrollment.state, enrollment.reason = EnrollmentState.VOIDED, reason
        self._transcripts.void(enrollment)
        self.journal.change_enrollment(enrollment)
        previous = EnrollmentState.COMPLETED
        self.journal.record_enrollment(
            EventType.COMPLETION_VOIDED, course, enrollment, previous_state=previous, reason=reason
        )

    def add_completion(self, student: Student, course: Course, grade: str, passed: bool, *, comment: str) -> Enrollment:
        """Add an enrollment that is completed from the start."""
        enrollment = self._new_enrollment(student, course, EnrollmentState.COMPLETED, ())
        enrollment.grade, enrollment.passed, enrollment.end_time = grade, passed, self.now
        self._attempts.add(enrollment)
        self._transcripts.complete(enrollment)
        self.journal.record_enrollment(EventType.COMPLETION_RECORDED, course, enrollment, comment=comment)
        return enrollment

    def _new_enrollment(
        self, student: Student, course: Course, state: EnrollmentState, bypassed_rules: tuple[str, ...]
    ) -> Enrollment:
        course.last_number += 1
        enrollment = Enrollment(
            course_id=course.course_id,
            enrollment_id=self.journal.new_id(self.now),
            student_id=student.student_id,
            number=course.last_number,
            attempt=self._attempts.next_number(student.student_id, course.course_id),
            state=state,
            bypassed_rules=bypassed_rules,
            create_time=self.now,
            update_time=self.now,
        )
        self.journal.added_enrollments[enrollment.enrollment_id] = enrollment
        self.journal.count_course(course)
        return enrollment

    def _end(self, course: Course, enrollment: Enrollment, state: EnrollmentState) -> None:
        self._vacate(course, enrollment)
        enrollment.state = state
        enrollment.end_time = self.journal.time_of(enrollment)
        self._attempts.add(enrollment)

    def _occupy(self, course: Course, enrollment: Enrollment) -> None:
        if enrollment.waits:
            self._queue(course.course_id).join(enrollment, course.waitlisted_count)
            course.waitlisted_count += 1
        else:
            self._transcripts.take_seat(enrollment.student_id, course)
            course.enrolled_count += 1
        self.journal.count_course(course)

    def _vacate(self, course: Course, enrollment: Enrollment) -> None:
        if enrollment.waits:
            self._queue(course.course_id).leave(enrollment)
            course.waitlisted_count -= 1
        else:
            self._transcripts.give_up_seat(enrollment.student_id, course.course_id)
            course.enrolled_count -= 1
        self.journal.count_course(course)
