"""What one batch sees: the loaded rows, as the commands decided so far have left them.

Decisions read and change records here and nowhere else; the journal notes what there is to write. Later commands of a
batch see what earlier ones decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from registrar_server.core.journal import Journal
from registrar_server.core.records import (
    Commitment,
    Course,
    Enrollment,
    StoredResponse,
    Student,
    Subject,
)
from registrar_server.core.rules import Case
from registrar_server.errors import course_not_found, student_not_found

SEAT_COUNTERS = {"ENROLLED": "enrolled_count", "WAITLISTED": "waitlisted_count"}


class OutOfWaiters(Exception):
    """More waiters are up for promotion than were loaded; the batch starts again with more of them."""

    def __init__(self, course_id: str) -> None:
        super().__init__(course_id)
        self.course_id = course_id


class State:
    """The rows a batch works on, at the time ``now`` (microseconds since 1970 UTC)."""

    def __init__(self, now: int, new_id: Callable[[int], str]) -> None:
        self.now = now
        self.journal = Journal(now, new_id)
        self.students: dict[str, Student] = {}
        self.courses: dict[str, Course] = {}
        self.responses: dict[tuple[str, str], StoredResponse] = {}
        self._attempts: dict[tuple[str, str], Enrollment] = {}
        self._completions: dict[tuple[str, str], Enrollment] = {}
        self._live_by_student: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)
        self._live_by_course: defaultdict[str, dict[str, Enrollment]] = defaultdict(dict)
        self._queues: defaultdict[str, dict[int, Enrollment]] = defaultdict(dict)
        self._whole_queues: set[str] = set()
        self._places: dict[tuple[str, int], int] = {}
        self._left_queues: defaultdict[str, list[int]] = defaultdict(list)
        self._commitments: defaultdict[str, dict[str, Commitment | Course]] = defaultdict(dict)
        self._passed: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._codes: dict[str, str] = {}

    def load(
        self,
        students: Iterable[Student],
        courses: Iterable[Course],
        enrollments: Iterable[Enrollment],
        responses: Iterable[StoredResponse],
    ) -> None:
        """Take in rows as they stand in the database."""
        self.students.update((student.student_id, student) for student in students)
        self.courses.update((course.course_id, course) for course in courses)
        self.responses.update(((stored.caller, stored.request_id), stored) for stored in responses)
        for enrollment in enrollments:
            self._remember(enrollment)

    def load_queue(self, course: Course, waiters: Iterable[Enrollment]) -> None:
        """Take in the first waiters of a course, or all of them, in the order of the queue."""
        queue = self._queues[course.course_id]
        for waiter in waiters:
            # One row must be one record, whichever statement found it first.
            known = self._live_by_student[waiter.student_id].get(course.course_id)
            if known is None:
                self._remember(waiter)
            queue[waiter.number] = known or waiter
        # Without locks, as in a preview, the queue may have grown since the course was read.
        if len(queue) >= course.waitlisted_count:
            self._whole_queues.add(course.course_id)

    def load_commitments(self, rows: Iterable[tuple[str, Commitment]]) -> None:
        """Take in the seats that students have, each with the student's id."""
        for student_id, commitment in rows:
            self._commitments[student_id][commitment.course_id] = commitment

    def load_subjects(self, passed: Iterable[tuple[str, str, Subject]], codes: Mapping[str, str]) -> None:
        """Take in what students have passed, each with the ids of student and enrollment, and the codes of courses."""
        self._codes.update(codes)
        for student_id, enrollment_id, subject in passed:
            self._passed[student_id][enrollment_id] = subject.course_id
            self._codes[subject.course_id] = subject.code

    def _remember(self, enrollment: Enrollment) -> None:
        student_id, course_id = enrollment.student_id, enrollment.course_id
        pair = student_id, course_id
        latest = self._attempts.get(pair)
        if latest is None or latest.attempt <= enrollment.attempt:
            self._attempts[pair] = enrollment
        if enrollment.live:
            self._live_by_student[student_id][course_id] = enrollment
            self._live_by_course[course_id][student_id] = enrollment
            self._places.setdefault((course_id, enrollment.number), enrollment.waitlist_position)
        elif enrollment.state == "COMPLETED":
            completed = self._completions.get(pair)
            if completed is None or completed.attempt <= enrollment.attempt:
                self._completions[pair] = enrollment

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

    def live(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's live enrollment in the course, if there is one."""
        return self._live_by_student[student_id].get(course_id)

    def completion(self, student_id: str, course_id: str) -> Enrollment | None:
        """Return the student's latest completion of the course, if there is one."""
        return self._completions.get((student_id, course_id))

    def live_of_student(self, student_id: str) -> list[Enrollment]:
        """Return the live enrollments of a student whose enrollments were asked for, in order of course."""
        return [live for _, live in sorted(self._live_by_student[student_id].items())]

    def live_of_course(self, course_id: str) -> list[Enrollment]:
        """Return the live enrollments of a course whose enrollments were asked for, in order of their numbers."""
        return sorted(self._live_by_course[course_id].values(), key=lambda live: live.number)

    def waiters(self, course_id: str) -> Iterator[Enrollment]:
        """Go through the queue of a course; raises ``OutOfWaiters`` behind the last that was loaded, unless it ends."""
        yield from self._queues[course_id].values()
        if self.courses[course_id].waitlisted_count and course_id not in self._whole_queues:
            raise OutOfWaiters(course_id)

    def position(self, enrollment: Enrollment) -> int:
        """Return the place in the queue of a waiter whose enrollments in the course were asked for.

        It is the place before this batch, less those ahead who have left the queue in it.
        """
        left = self._left_queues[enrollment.course_id]
        place = self._places[enrollment.course_id, enrollment.number]
        return place - sum(number < enrollment.number for number in left)

    def case(self, student: Student, course: Course, *, without: str = "") -> Case:
        """Return what the rules judge; ``without`` names a course whose seat is taken for given up."""
        commitments = tuple(
            self.courses.get(course_id, held)
            for course_id, held in self._commitments[student.student_id].items()
            if course_id != without
        )
        if not course.prerequisite_course_ids:
            return Case(student, course, self.now, commitments)
        prerequisites = tuple(map(self._subject, course.prerequisite_course_ids))
        passed = tuple(map(self._subject, self._passed[student.student_id].values()))
        return Case(student, course, self.now, commitments, prerequisites, passed)

    def _subject(self, course_id: str) -> Subject:
        course = self.courses.get(course_id)
        return Subject(course_id, self._codes.get(course_id, "") if course is None else course.code)

    def add_student(self, student: Student) -> None:
        """Take in a new student."""
        self.students[student.student_id] = self.journal.added_students[student.student_id] = student

    def add_course(self, course: Course) -> None:
        """Take in a new course."""
        self.courses[course.course_id] = self.journal.added_courses[course.course_id] = course

    def answer(self, stored: StoredResponse) -> None:
        """Keep the response to a ``request_id``, for this batch's later calls and for the years to come."""
        self.responses[stored.caller, stored.request_id] = stored
        self.journal.added_responses.append(stored)

    def open_enrollment(
        self, student: Student, course: Course, state: str, bypassed_rules: tuple[str, ...]
    ) -> Enrollment:
        """Add a live enrollment at the end of the course's queue and count it."""
        enrollment = self._number(student, course, state, bypassed_rules)
        self._place(course, enrollment)
        self._remember(enrollment)
        return enrollment

    def _number(self, student: Student, course: Course, state: str, bypassed_rules: tuple[str, ...]) -> Enrollment:
        before = self._attempts.get((student.student_id, course.course_id))
        course.last_number += 1
        enrollment = Enrollment(
            course_id=course.course_id,
            enrollment_id=self.journal.new_id(self.now),
            student_id=student.student_id,
            number=course.last_number,
            attempt=1 if before is None else before.attempt + 1,
            state=state,
            bypassed_rules=bypassed_rules,
            create_time=self.now,
            update_time=self.now,
        )
        self.journal.added_enrollments[enrollment.enrollment_id] = enrollment
        self.journal.count_course(course)
        return enrollment

    def promote(self, course: Course, enrollment: Enrollment) -> None:
        """Turn a place in the queue into a seat."""
        self._displace(course, enrollment)
        enrollment.state = "ENROLLED"
        self._place(course, enrollment)
        self.journal.change_enrollment(enrollment)

    def end_enrollment(self, course: Course, enrollment: Enrollment, state: str) -> None:
        """Turn a live enrollment into one that is not, and give its place free."""
        self._displace(course, enrollment)
        enrollment.state = state
        enrollment.end_time = self.now
        self._live_by_student[enrollment.student_id].pop(enrollment.course_id, None)
        self._live_by_course[enrollment.course_id].pop(enrollment.student_id, None)
        self._remember(enrollment)
        self.journal.change_enrollment(enrollment)

    def complete(self, course: Course, enrollment: Enrollment, grade: str, passed: bool) -> None:
        """Turn a seat into a completion, or say anew what a completion says."""
        enrollment.grade, enrollment.passed = grade, passed
        if enrollment.live:
            self.end_enrollment(course, enrollment, "COMPLETED")
        else:
            self.journal.change_enrollment(enrollment)
        self._note_passed(enrollment)

    def add_completion(self, student: Student, course: Course, grade: str, passed: bool) -> Enrollment:
        """Add an enrollment that is completed from the first."""
        enrollment = self._number(student, course, "COMPLETED", ())
        enrollment.grade, enrollment.passed, enrollment.end_time = grade, passed, self.now
        self._remember(enrollment)
        self._note_passed(enrollment)
        return enrollment

    def _note_passed(self, enrollment: Enrollment) -> None:
        passed = self._passed[enrollment.student_id]
        if enrollment.passed:
            passed[enrollment.enrollment_id] = enrollment.course_id
        else:
            passed.pop(enrollment.enrollment_id, None)

    def _place(self, course: Course, enrollment: Enrollment) -> None:
        if enrollment.state == "ENROLLED":
            self._commitments[enrollment.student_id][course.course_id] = course
        elif enrollment.waits:
            # Behind waiters that were not loaded there is no place to keep; whoever gets that far starts again.
            if not course.waitlisted_count or course.course_id in self._whole_queues:
                self._whole_queues.add(course.course_id)
                self._queues[course.course_id][enrollment.number] = enrollment
            enrollment.waitlist_position = course.waitlisted_count + 1
            left = len(self._left_queues[course.course_id])
            self._places[course.course_id, enrollment.number] = enrollment.waitlist_position + left
        self._count(course, enrollment.state, 1)

    def _displace(self, course: Course, enrollment: Enrollment) -> None:
        if enrollment.state == "ENROLLED":
            self._commitments[enrollment.student_id].pop(course.course_id, None)
        else:
            self._queues[course.course_id].pop(enrollment.number, None)
            self._left_queues[course.course_id].append(enrollment.number)
            enrollment.waitlist_position = 0
        self._count(course, enrollment.state, -1)

    def _count(self, course: Course, state: str, step: int) -> None:
        if counter := SEAT_COUNTERS.get(state):
            setattr(course, counter, getattr(course, counter) + step)
            self.journal.count_course(course)
