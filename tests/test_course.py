"""Students, courses and enrollments as tables: their relationships, and the rows that each named constraint refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registrar_server.storage.models import Base, Course, Enrollment, Event, EventCounter, RequestId, Student

NOW = 1_795_449_600_123_456
TIMES = {"create_time": NOW, "update_time": NOW}


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """An ORM session on a freshly migrated database, SQLite or PostgreSQL."""
    with Session(engine) as session:
        yield session


def student(student_id: str = "s-1", **values: Any) -> Student:
    return Student(student_id=student_id, **TIMES | values)


def course(course_id: str = "c-1", **values: Any) -> Course:
    return Course(course_id=course_id, **TIMES | values)


def enrollment(enrollment_id: str = "e-1", **values: Any) -> Enrollment:
    usual = {"student_id": "s-1", "course_id": "c-1", "number": 1, "state": "ENROLLED", **TIMES}
    return Enrollment(enrollment_id=enrollment_id, **usual | values)


def dropped(enrollment_id: str = "e-1", **values: Any) -> Enrollment:
    return enrollment(enrollment_id, state="DROPPED", end_time=NOW, **values)


@pytest.fixture
def enrolled(session: Session) -> Session:
    """A session on a database where student s-1 is enrolled in course c-1."""
    add(session, student(), course())
    add(session, enrollment())
    return session


def add(session: Session, *rows: Base) -> None:
    session.add_all(rows)
    session.commit()


class TestRelationships:
    """An enrollment relates a student and a course, and can be reached from both."""

    def test_a_course_knows_its_students(self, session: Session) -> None:
        """A course lists its enrollments in the order of their creation."""
        add(session, course(), student("s-1"), student("s-2"))
        add(session, enrollment("e-2", student_id="s-2", number=2), enrollment("e-9", number=1))
        found = session.get_one(Course, "c-1")
        assert [entry.student.student_id for entry in found.enrollments] == ["s-1", "s-2"]

    def test_a_student_knows_their_courses(self, session: Session) -> None:
        """A student lists their enrollments by course and attempt."""
        add(session, student(), course("c-1"), course("c-2"))
        add(session, enrollment("e-3", course_id="c-2"), enrollment("e-2", number=2, attempt=2), dropped("e-1"))
        found = session.get_one(Student, "s-1")
        assert [(entry.course.course_id, entry.attempt) for entry in found.enrollments] == [
            ("c-1", 1),
            ("c-1", 2),
            ("c-2", 1),
        ]

    def test_an_enrollment_knows_both(self, enrolled: Session) -> None:
        """An enrollment leads to its student and its course, and both lead back to it."""
        found = enrolled.get_one(Enrollment, ("c-1", "e-1"))
        assert found.student is enrolled.get_one(Student, "s-1")
        assert found.course is enrolled.get_one(Course, "c-1")
        assert found.student.enrollments == [found]
        assert found.course.enrollments == [found]

    def test_keys_follow_from_objects(self, session: Session) -> None:
        """An enrollment that is created from a student and a course takes their ids."""
        made = Enrollment(enrollment_id="e-1", student=student(), course=course(), number=1, state="ENROLLED", **TIMES)
        add(session, made)
        assert (made.student_id, made.course_id) == ("s-1", "c-1")

    def test_appending_to_a_course_enrolls(self, session: Session) -> None:
        """An enrollment that is added to the course appears at the student."""
        add(session, student(), course())
        found = session.get_one(Course, "c-1")
        found.enrollments.append(enrollment(course_id=None))
        session.commit()
        assert [entry.course_id for entry in session.get_one(Student, "s-1").enrollments] == ["c-1"]

    def test_nobody_has_no_courses(self, session: Session) -> None:
        """A new student and a new course have empty lists."""
        add(session, student(), course())
        assert session.get_one(Student, "s-1").enrollments == []
        assert session.get_one(Course, "c-1").enrollments == []


class TestValues:
    """Both databases return values as they were stored."""

    def test_a_course_starts_open_and_empty(self, session: Session) -> None:
        """By default a course has unlimited seats, no waitlist, no enrollment window and no students."""
        add(session, course())
        found = session.get_one(Course, "c-1")
        assert (found.state, found.capacity, found.waitlist_capacity) == ("OPEN", None, None)
        assert (found.enroll_open_time, found.enroll_close_time, found.drop_deadline_time) == (None, None, None)
        assert (found.enrolled_count, found.waitlisted_count, found.last_number) == (0, 0, 0)
        assert (found.credits, found.meetings, found.prerequisite_course_ids) == (0, [], [])

    def test_no_seats_is_not_unlimited(self, session: Session) -> None:
        """A capacity of 0 remains 0, and an absent capacity remains absent."""
        add(session, course("closed", capacity=0), course("unlimited", capacity=None))
        query = select(Course.course_id, Course.capacity).order_by(Course.course_id)
        assert [tuple(row) for row in session.execute(query)] == [("closed", 0), ("unlimited", None)]

    def test_a_student_starts_active(self, session: Session) -> None:
        """By default a student is active and has no holds and no credit limit."""
        add(session, student())
        found = session.get_one(Student, "s-1")
        assert (found.state, found.holds, found.max_credits) == ("ACTIVE", [], None)

    def test_documents_and_times_are_exact(self, session: Session) -> None:
        """Nested lists, non-ASCII text and microseconds are returned unchanged."""
        meetings = [{"weekdays": [1, 3], "location": "Łódź „A” 🏫", "start_time": {"hours": 24}}]
        add(session, course(meetings=meetings, title="Études", enroll_open_time=NOW))
        found = session.get_one(Course, "c-1")
        assert (found.meetings, found.title, found.enroll_open_time) == (meetings, "Études", NOW)

    def test_ids_sort_byte_by_byte(self, session: Session) -> None:
        """Python and both databases sort ids in the same order, which locks and pages depend on."""
        ids = ["a", "B", "b", "A", "a-1", "a.1", "a~", "a_b", "ab", "10", "9", "Z"]
        add(session, *(course(course_id) for course_id in ids))
        assert list(session.scalars(select(Course.course_id).order_by(Course.course_id))) == sorted(ids)


class TestOneLiveEnrollment:
    """A student has at most one live enrollment in a course."""

    @pytest.mark.parametrize("state", ["ENROLLED", "WAITLISTED"])
    def test_a_second_live_one_is_refused(self, enrolled: Session, state: str) -> None:
        """A second enrollment that is ENROLLED or WAITLISTED is refused."""
        second = enrollment("e-2", number=2, attempt=2, state=state)
        assert_refused(enrolled, second, "uq_enrollments_live", "student_id", "course_id")

    def test_enrolling_again_after_a_drop(self, session: Session) -> None:
        """A student may have several dropped enrollments beside the live one."""
        add(session, student(), course())
        add(session, dropped("e-1"), dropped("e-2", number=2, attempt=2))
        add(session, enrollment("e-3", number=3, attempt=3))
        states = [entry.state for entry in session.get_one(Course, "c-1").enrollments]
        assert states == ["DROPPED", "DROPPED", "ENROLLED"]

    def test_others_are_free(self, enrolled: Session) -> None:
        """Other students may enroll in the course, and the student in other courses."""
        add(enrolled, student("s-2"), course("c-2"))
        add(enrolled, enrollment("e-2", student_id="s-2", number=2), enrollment("e-3", course_id="c-2"))
        assert len(enrolled.scalars(select(Enrollment)).all()) == 3


class TestKeys:
    """Numbers and ids are unique, and the student and the course of an enrollment exist."""

    def test_a_number_is_given_once_per_course(self, enrolled: Session) -> None:
        """Two enrollments in a course with the same number are refused."""
        add(enrolled, student("s-2"))
        twin = enrollment("e-2", student_id="s-2", number=1)
        assert_refused(enrolled, twin, "uq_enrollments_course_id_number", "course_id", "number")

    def test_an_attempt_is_counted_once(self, enrolled: Session) -> None:
        """Two enrollments of a student in a course with the same attempt are refused."""
        name, columns = "uq_enrollments_student_id_course_id_attempt", ("student_id", "course_id", "attempt")
        assert_refused(enrolled, dropped("e-2", number=2, attempt=1), name, *columns)

    @pytest.mark.parametrize(
        ("twin", "name", "columns"),
        [
            (student("s-1"), "pk_students", ["student_id"]),
            (course("c-1"), "pk_courses", ["course_id"]),
            (dropped("e-1", number=2, attempt=2), "pk_enrollments", ["course_id", "enrollment_id"]),
            (EventCounter(id=1, revision=7), "pk_event_counter", ["id"]),
        ],
        ids=["student", "course", "enrollment", "event-counter"],
    )
    def test_ids_are_unique(self, enrolled: Session, twin: Base, name: str, columns: list[str]) -> None:
        """A second row with the same id is refused, and a second event counter too."""
        enrolled.expunge_all()
        assert_refused(enrolled, twin, name, *columns)

    def test_an_event_is_told_once(self, session: Session) -> None:
        """A second event of a course at the same revision is refused."""
        values = {"course_id": "c-1", "revision": 1, "type": "COURSE_CREATED", "time": NOW}
        add(session, Event(event_id="v-1", **values))
        session.expunge_all()
        assert_refused(session, Event(event_id="v-2", **values), "pk_events", "course_id", "revision")

    def test_a_request_is_remembered_once_per_caller(self, session: Session) -> None:
        """Two callers may use the same request id, but one caller may use it only once."""
        values = {"request_id": "r-1", "fingerprint": b"\x00f", "response": b"\xff", "create_time": NOW}
        add(session, RequestId(caller="", **values), RequestId(caller="bursar", **values))
        session.expunge_all()
        assert_refused(session, RequestId(caller="", **values), "pk_request_ids", "caller", "request_id")

    @pytest.mark.parametrize("side", ["student_id", "course_id"])
    def test_an_enrollment_needs_both_sides(self, enrolled: Session, side: str) -> None:
        """An enrollment of an unknown student or in an unknown course is refused."""
        assert_refused(enrolled, enrollment("e-2", number=2, **{side: "nobody"}), f"fk_enrollments_{side}")

    @pytest.mark.parametrize(("table", "side"), [(Student, "student_id"), (Course, "course_id")])
    def test_what_has_enrollments_stays(self, enrolled: Session, table: type[Base], side: str) -> None:
        """Deleting the row of a student or course with enrollments is refused."""
        with pytest.raises(IntegrityError) as refusal:
            enrolled.execute(delete(table))
        assert refused_by(refusal.value) in (f"fk_enrollments_{side}", "FOREIGN KEY constraint failed")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (student("s-2", state="GRADUATED"), "ck_students_state"),
        (student("s-2", max_credits=-1), "ck_students_max_credits"),
        (course("c-2", state="CLOSED"), "ck_courses_state"),
        (course("c-2", credits=-1), "ck_courses_credits"),
        (course("c-2", capacity=-1), "ck_courses_capacity"),
        (course("c-2", waitlist_capacity=-1), "ck_courses_waitlist_capacity"),
        (course("c-2", enrolled_count=-1), "ck_courses_enrolled_count"),
        (course("c-2", waitlisted_count=-1), "ck_courses_waitlisted_count"),
        (course("c-2", enroll_open_time=NOW, enroll_close_time=NOW), "ck_courses_enroll_window"),
        (dropped("e-2", number=2, attempt=0), "ck_enrollments_attempt"),
        (enrollment("e-2", number=2, attempt=2, state="LOST", end_time=NOW), "ck_enrollments_state"),
        (enrollment("e-2", number=2, attempt=2, state="VOIDED"), "ck_enrollments_end_time"),
        (enrollment("e-2", number=2, attempt=2, state="DROPPED"), "ck_enrollments_end_time"),
        (enrollment("e-2", number=2, attempt=2, end_time=NOW), "ck_enrollments_end_time"),
        (EventCounter(id=2, revision=0), "ck_event_counter_one_row"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_values_are_refused(enrolled: Session, row: Base, name: str) -> None:
    """The database refuses values that no rule writes, and names the check constraint."""
    enrolled.add(row)
    with pytest.raises(IntegrityError) as refusal:
        enrolled.flush()
    assert refused_by(refusal.value) in (name, f"CHECK constraint failed: {name}")


def assert_refused(session: Session, row: Base, name: str, *columns: str) -> None:
    """Assert that the constraint of this name refuses a row; SQLite names the columns of a key instead."""
    session.add(row)
    with pytest.raises(IntegrityError) as refusal:
        session.flush()
    keys = ", ".join(f"{row.__tablename__}.{column}" for column in columns)
    assert refused_by(refusal.value) in (
        name,
        f"UNIQUE constraint failed: {keys}" if columns else "FOREIGN KEY constraint failed",
    )


def refused_by(error: IntegrityError) -> str:
    """Return the name of the constraint on PostgreSQL, and the message on SQLite."""
    if isinstance(error.orig, psycopg.Error):
        return str(error.orig.diag.constraint_name)
    return str(error.orig)
