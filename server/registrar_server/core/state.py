"""What one batch sees and changes: the loaded rows, as the commands decided so far have left them.

Decisions read records here. A decision may set the fields of a record, and then calls the method that makes the change:
each such method updates the indexes and counters, notes the records in the journal, and adds the one event that reports
the change. Later commands of a batch see what earlier ones decided.
"""

from __future__ import annotations

from collections.abc import Callable

from registrar_server.core.journal import Journal
from registrar_server.core.loaded_rows import LoadedRows
from registrar_server.core.overrides import keep
from registrar_server.core.records import Change, Course, Enrollment, Student
from registrar_server.core.vocabulary import EnrollmentState, EventType
from registrar_server.errors import Violation

_OPENED = {
    EnrollmentState.ENROLLED: EventType.STUDENT_ENROLLED,
    EnrollmentState.WAITLISTED: EventType.STUDENT_WAITLISTED,
}


class State(LoadedRows):
    """The loaded rows, and the changes that decisions make to them.

    ``now`` is in microseconds since 1970 UTC.
    """

    def __init__(self, now: int, new_id: Callable[[int], str]) -> None:
        super().__init__(now)
        self.journal = Journal(now, new_id)

    def add_student(self, student: Student, changes: tuple[Change, ...]) -> None:
        """Add a new student."""
        self.students[student.student_id] = self.journal.added_students[student.student_id] = student
        self.journal.record_student(EventType.STUDENT_CREATED, student, changes=changes)

    def change_student(
        self, type: EventType, student: Student, *, reason: str = "", changes: tuple[Change, ...] = ()
    ) -> None:
        """Note a change that a decision made to a student's fields."""
        self._queues.unblock(student.student_id)
        self.journal.change_student(student)
        self.journal.record_student(type, student, reason=reason, changes=changes)

    def add_course(self, course: Course, changes: tuple[Change, ...]) -> None:
        """Add a new course."""
        self._queues.unblock_all()
        self.courses[course.course_id] = self.journal.added_courses[course.course_id] = course
        self.journal.record_course(EventType.COURSE_CREATED, course, changes)

    def change_course(self, type: EventType, course: Course, changes: tuple[Change, ...] = ()) -> None:
        """Note a change that a decision made to a course's fields."""
        self._queues.unblock_all()
        self.journal.change_course(course)
        self.journal.record_course(type, course, changes)

    def open_enrollment(
        self,
        student: Student,
        course: Course,
        standing: EnrollmentState,
        set_aside: tuple[Violation, ...],
        *,
        reason: str,
        comment: str,
    ) -> Enrollment:
        """Give a student a seat, or the last position on the waitlist."""
        enrollment = self._new_enrollment(student, course, standing)
        keep(enrollment, set_aside)
        self._occupy(course, enrollment)
        self._attempts.add(enrollment)
        self.journal.record_enrollment(
            _OPENED[standing], course, enrollment, reason=reason, comment=comment, violations=set_aside
        )
        return enrollment

    def promote(
        self, course: Course, waiter: Enrollment, set_aside: tuple[Violation, ...], *, reason: str, comment: str
    ) -> None:
        """Give a waiter a seat."""
        self._vacate(course, waiter)
        waiter.state = EnrollmentState.ENROLLED
        keep(waiter, set_aside)
        self._occupy(course, waiter)
        self.journal.change_enrollment(waiter)
        self.journal.record_enrollment(
            EventType.STUDENT_PROMOTED,
            course,
            waiter,
            previous_state=EnrollmentState.WAITLISTED,
            reason=reason,
            comment=comment,
            violations=set_aside,
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

    def drop(
        self, course: Course, enrollment: Enrollment, set_aside: tuple[Violation, ...], *, reason: str, comment: str
    ) -> None:
        """End a live enrollment as DROPPED; ``reason`` is the reason in the event."""
        previous = enrollment.state
        self._end(course, enrollment, EnrollmentState.DROPPED)
        keep(enrollment, set_aside)
        self.journal.change_enrollment(enrollment)
        self.journal.record_enrollment(
            EventType.STUDENT_UNENROLLED,
            course,
            enrollment,
            previous_state=previous,
            reason=reason,
            comment=comment,
            violations=set_aside,
        )

    def complete(
        self, course: Course, enrollment: Enrollment, grade: str, passed: bool, changes: tuple[Change, ...] = ()
    ) -> None:
        """End a seat as COMPLETED, or correct an earlier completion; ``changes`` describes the correction."""
        previous = enrollment.state
        enrollment.grade, enrollment.passed = grade, passed
        if enrollment.live:
            self._end(course, enrollment, EnrollmentState.COMPLETED)
            enrollment.counted = True
            course.completed_count += 1
        self._transcripts.complete(enrollment)
        self._queues.unblock(enrollment.student_id)
        self.journal.change_enrollment(enrollment)
        self.journal.record_enrollment(
            EventType.ENROLLMENT_COMPLETED, course, enrollment, previous_state=previous, changes=changes
        )

    def void(self, course: Course, enrollment: Enrollment, reason: str) -> None:
        """Declare a completion void."""
        enrollment.state, enrollment.reason = EnrollmentState.VOIDED, reason
        if enrollment.counted:
            course.completed_count -= 1
            self.journal.count_course(course)
        enrollment.counted = False
        self._transcripts.void(enrollment)
        self._queues.unblock(enrollment.student_id)
        self.journal.change_enrollment(enrollment)
        previous = EnrollmentState.COMPLETED
        self.journal.record_enrollment(
            EventType.COMPLETION_VOIDED, course, enrollment, previous_state=previous, reason=reason
        )

    def add_completion(self, student: Student, course: Course, grade: str, passed: bool, *, comment: str) -> Enrollment:
        """Add an enrollment that is completed from the start."""
        enrollment = self._new_enrollment(student, course, EnrollmentState.COMPLETED)
        enrollment.grade, enrollment.passed, enrollment.end_time = grade, passed, self.now
        enrollment.counted = False
        self._attempts.add(enrollment)
        self._transcripts.complete(enrollment)
        self._queues.unblock(student.student_id)
        self.journal.record_enrollment(EventType.COMPLETION_RECORDED, course, enrollment, comment=comment)
        return enrollment

    def _new_enrollment(self, student: Student, course: Course, state: EnrollmentState) -> Enrollment:
        course.last_number += 1
        enrollment = Enrollment(
            course.course_id,
            self.journal.new_id(self.now),
            student.student_id,
            course.last_number,
            self._attempts.next_number(student.student_id, course.course_id),
            state,
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
        self._queues.unblock(enrollment.student_id)
        if enrollment.waits:
            self._queues.of(course.course_id).join(enrollment, course.waitlisted_count)
            course.waitlisted_count += 1
        else:
            self._transcripts.take_seat(enrollment.student_id, course)
            course.enrolled_count += 1
        self.journal.count_course(course)

    def _vacate(self, course: Course, enrollment: Enrollment) -> None:
        self._queues.unblock(enrollment.student_id)
        if enrollment.waits:
            self._queues.of(course.course_id).leave(enrollment)
            course.waitlisted_count -= 1
        else:
            self._transcripts.give_up_seat(enrollment.student_id, course.course_id)
            course.enrolled_count -= 1
        self.journal.count_course(course)
