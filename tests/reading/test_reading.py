"""Reads: lookups that are batched into one query, and lists whose pages stay stable while others write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from registrar_server.core.commands import (
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    PlaceHold,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
)
from registrar_server.core.records import Course, Student
from registrar_server.core.schedule import Meeting
from registrar_server.errors import Reason, Refusal
from registrar_server.immediate import complete
from registrar_server.reading.lists import CourseSearch, RosterFilter, StudentCourseFilter, StudentSearch
from registrar_server.reading.lookups import (
    CourseById,
    CoursesOfStudent,
    EnrollmentById,
    Lookup,
    StudentById,
    look_up,
)
from registrar_server.reading.reader import Reader
from registrar_server.storage.database import Database
from registrar_server.storage.stores import BlockingStore
from tests.support.ledgers import Ledger, carry_out
from tests.support.running_stores import RunningStore

LIVE = ("ENROLLED", "WAITLISTED")
ALL_STATES = (*LIVE, "DROPPED", "COMPLETED")
ALL_COURSES = CourseSearch()
MEETING = Meeting((1, 3), 32_400, 36_000, "2026-09-01", "2026-12-18", "Łódź „A” 🏫")


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A ledger on the same database."""
    return Ledger(database)


@pytest.fixture
def reader(database: Database, ledger: Ledger) -> Reader:
    """A reader of a database with s-1 to s-3 and c-1 to c-3, of which s-3 and c-3 are deleted."""
    carry_out(
        ledger,
        CreateStudent("s-1", {"given_name": "Ada", "family_name": "Byron"}),
        CreateStudent("s-2", {"given_name": "Élodie", "email": "100%@b_c.edu"}),
        CreateStudent("s-3"),
        CreateCourse(
            "c-1", {"code": "CS 101", "title": "Intro", "term": "fall", "capacity": 1, "meetings": (MEETING,)}
        ),
        CreateCourse("c-2", {"code": "CS 102", "title": "Études", "term": "spring"}),
        CreateCourse("c-3", {"code": "CS 101", "prerequisite_course_ids": ("c-1",)}),
        Enroll("s-1", "c-1"),
        Enroll("s-1", "c-2"),
        Enroll("s-2", "c-2"),
        PlaceHold("s-2", "LIBRARY", "a „book”"),
        DeleteStudent("s-3"),
        DeleteCourse("c-3"),
    )
    return Reader(database)


LookUp = Callable[[Sequence[Lookup]], list[Any]]


@pytest.fixture
def found_by(database: Database, reader: Reader, each_store: str) -> LookUp:
    """Runs a batch of lookups on the database of the reader, over each kind of store."""
    running = RunningStore(database)
    return lambda lookups: running.run(look_up(running.store, lookups))


def refused_for(found: Any) -> tuple[Reason, dict[str, str]]:
    """Return the reason and the metadata of a refused lookup."""
    assert isinstance(found, Refusal)
    return found.reason, found.metadata


class TestLookups:
    """Each lookup of a batch has its own record or its own error."""

    def test_all_kinds_at_once(self, found_by: LookUp) -> None:
        """Results are in the order of the lookups."""
        lookups: list[Lookup] = [CourseById("c-1"), StudentById("s-2"), CoursesOfStudent("s-1"), StudentById("s-9")]
        course, student, entries, unknown = found_by(lookups)
        assert (course.course_id, student.student_id) == ("c-1", "s-2")
        assert [(entry.course.course_id, entry.enrollment.student_id) for entry in entries] == [
            ("c-1", "s-1"),
            ("c-2", "s-1"),
        ]
        assert refused_for(unknown) == (Reason.STUDENT_NOT_FOUND, {"student_id": "s-9"})

    def test_a_record_is_complete(self, reader: Reader) -> None:
        """Records have their lists, texts beyond ASCII, absent values and counters."""
        course: Course = reader.require(CourseById("c-1"))
        assert (course.meetings, course.capacity, course.waitlist_capacity) == ((MEETING,), 1, None)
        assert (course.enrolled_count, course.last_number, course.seats_available) == (1, 1, 0)
        student: Student = reader.require(StudentById("s-2"))
        (hold,) = student.holds
        assert (hold.code, hold.reason, student.max_credits) == ("LIBRARY", "a „book”", None)
        assert hold.place_time == student.update_time

    @pytest.mark.parametrize(
        ("hidden", "shown", "reason"),
        [
            (StudentById("s-3"), StudentById("s-3", show_deleted=True), Reason.STUDENT_NOT_FOUND),
            (CourseById("c-3"), CourseById("c-3", show_deleted=True), Reason.COURSE_NOT_FOUND),
        ],
    )
    def test_deleted(self, found_by: LookUp, hidden: Lookup, shown: Lookup, reason: Reason) -> None:
        """Deleted records are found only with show_deleted, even in one batch."""
        refused, found = found_by([hidden, shown])
        assert refused_for(refused)[0] is reason
        assert found.delete_time is not None

    def test_an_enrollment(self, reader: Reader, found_by: LookUp) -> None:
        """Live and ended enrollments are found by id; an unknown id is refused."""
        (entry,) = reader.list_roster("c-1", RosterFilter(), None, 10)
        assert reader.require(EnrollmentById(entry.enrollment.enrollment_id)) == entry.enrollment
        (unknown,) = found_by([EnrollmentById("e-9")])
        assert refused_for(unknown) == (Reason.ENROLLMENT_NOT_FOUND, {"enrollment_id": "e-9"})
        assert str(unknown) == 'There is no enrollment "e-9".'

    def test_courses_of_a_student(self, found_by: LookUp, ledger: Ledger) -> None:
        """Only live enrollments are among a student's courses; a student without any has an empty list."""
        carry_out(ledger, Unenroll("s-1", "c-1"), Unenroll("s-2", "c-2"))
        of_first, of_second = found_by([CoursesOfStudent("s-1"), CoursesOfStudent("s-2")])
        assert [entry.course.course_id for entry in of_first] == ["c-2"]
        assert of_second == []

    def test_courses_of_a_deleted_student(self, found_by: LookUp) -> None:
        """The courses of a deleted student are refused."""
        (refused,) = found_by([CoursesOfStudent("s-3")])
        assert refused_for(refused) == (Reason.STUDENT_NOT_FOUND, {"student_id": "s-3"})

    def test_many(self, found_by: LookUp, ledger: Ledger) -> None:
        """Hundreds of lookups are one batch."""
        ids = [f"p-{number:03}" for number in range(300)]
        carry_out(ledger, *map(CreateStudent, ids))
        assert [student.student_id for student in found_by(list(map(StudentById, ids)))] == ids

    def test_an_empty_batch(self, found_by: LookUp) -> None:
        """An empty batch has no results."""
        assert found_by([]) == []

    def test_without_a_database(self, tmp_path: Path) -> None:
        """If the database cannot be reached, every lookup and every list reports it."""
        database = Database(f"sqlite:///{tmp_path / 'no folder' / 'registrar.db'}")
        reader = Reader(database)
        refused = complete(look_up(BlockingStore(database), [StudentById("s-1"), CourseById("c-1")]))
        assert [refused_for(one)[0] for one in refused] == [Reason.DATABASE_UNAVAILABLE] * 2
        with pytest.raises(Refusal) as listing:
            reader.list_students(StudentSearch(), None, 10)
        assert listing.value.reason is Reason.DATABASE_UNAVAILABLE
        database.close()


class TestLists:
    """The rows of each list, and their order."""

    def test_courses_of_a_student(self, reader: Reader, ledger: Ledger) -> None:
        """A student's enrollments are ordered by course and attempt, and filtered by state."""
        carry_out(ledger, Unenroll("s-1", "c-2"), Enroll("s-1", "c-2"))
        courses = reader.list_courses("s-1", StudentCourseFilter(ALL_STATES), None, 10)
        assert [(one.course.title, one.enrollment.attempt, one.enrollment.state) for one in courses] == [
            ("Intro", 1, "ENROLLED"),
            ("Études", 1, "DROPPED"),
            ("Études", 2, "ENROLLED"),
        ]
        assert [
            one.enrollment.attempt for one in reader.list_courses("s-1", StudentCourseFilter(("DROPPED",)), None, 10)
        ] == [1]
        assert reader.list_courses("s-1", StudentCourseFilter(), None, 10) == reader.require(CoursesOfStudent("s-1"))

    def test_a_roster(self, reader: Reader, ledger: Ledger) -> None:
        """A roster is ordered by the course's numbers, which is the order of the waitlist."""
        carry_out(ledger, Unenroll("s-1", "c-2"), Enroll("s-1", "c-2"))
        roster = reader.list_roster("c-2", RosterFilter(ALL_STATES), None, 10)
        assert [(one.student.student_id, one.enrollment.number, one.enrollment.state) for one in roster] == [
            ("s-1", 1, "DROPPED"),
            ("s-2", 2, "ENROLLED"),
            ("s-1", 3, "ENROLLED"),
        ]
        assert [one.student.given_name for one in reader.list_roster("c-2", RosterFilter(), None, 10)] == [
            "Élodie",
            "Ada",
        ]

    def test_of_a_missing_record(self, reader: Reader) -> None:
        """The lists of a deleted student or course are refused."""
        with pytest.raises(Refusal, match='There is no student "s-3"'):
            reader.list_courses("s-3", StudentCourseFilter(), None, 10)
        with pytest.raises(Refusal, match='There is no course "c-3"'):
            reader.list_roster("c-3", RosterFilter(), None, 10)

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", ["s-1", "s-2"]),
            ("byron ADA", ["s-1"]),
            ("élo", ["s-2"]),
            ("ÉLO", ["s-2"]),
            ("%", ["s-2"]),
            ("b_c", ["s-2"]),
            ("ada élo", []),
            ("'; DROP TABLE students; --", []),
        ],
    )
    def test_students_by_words(self, reader: Reader, query: str, found: list[str]) -> None:
        """Every word must be part of a name or the e-mail, in any case; no character of it is a wildcard."""
        assert [student.student_id for student in reader.list_students(StudentSearch(query), None, 10)] == found

    def test_deleted_students(self, reader: Reader) -> None:
        """Deleted students are listed with show_deleted."""
        shown = reader.list_students(StudentSearch(show_deleted=True), None, 10)
        assert [student.student_id for student in shown] == ["s-1", "s-2", "s-3"]

    @pytest.mark.parametrize(
        ("part", "found"),
        [
            ({}, ["c-1", "c-2"]),
            ({"query": "études"}, ["c-2"]),
            ({"query": "cs INTRO"}, ["c-1"]),
            ({"term": "fall"}, ["c-1"]),
            ({"code": "CS 101"}, ["c-1"]),
            ({"code": "CS 101", "show_deleted": True}, ["c-1", "c-3"]),
            ({"open_only": True}, ["c-2"]),
            ({"term": "fall", "open_only": True}, []),
        ],
    )
    def test_the_catalogue(self, reader: Reader, part: dict[str, Any], found: list[str]) -> None:
        """Every criterion narrows the search; a full course is not open."""
        courses = reader.search_courses(ALL_COURSES._replace(**part), None, 10)
        assert [course.course_id for course in courses] == found

    def test_a_cancelled_course_is_not_open(self, reader: Reader, ledger: Ledger) -> None:
        """A cancelled course is in the catalogue, but not among the open courses."""
        carry_out(ledger, UpdateCourse("c-2", {"state": "CANCELLED"}))
        assert reader.search_courses(ALL_COURSES._replace(open_only=True), None, 10) == []
        assert len(reader.search_courses(ALL_COURSES, None, 10)) == 2


Pages = Callable[[Any, int], Sequence[Any]]
Key = Callable[[Any], tuple[Any, ...]]


def read_pages(page: Pages, key: Key, size: int, after_page: Callable[[], None] = lambda: None) -> list[Any]:
    """Read a list page by page, as a caller does; call ``after_page`` after each page."""
    found: list[Any] = []
    after: Sequence[Any] | None = None
    while rows := page(after, size):
        assert len(rows) <= size
        assert after is None or key(rows[0]) > tuple(after), "pages go forward"
        found += map(key, rows)
        after = key(rows[-1])
        after_page()
    return found


class TestPages:
    """Each page continues after the last row of the page before, whatever was added or removed since."""

    STUDENTS = ("B", "a", "a-1", "a.1", "a~", "b", "p1", "p2", "p3", "z")

    @pytest.fixture
    def reader_of_ten(self, database: Database, ledger: Ledger) -> Reader:
        """Ten students in one course, whose ids sort the same on both databases only byte by byte."""
        carry_out(ledger, CreateCourse("c"), *map(CreateStudent, self.STUDENTS))
        carry_out(ledger, *(Enroll(student_id, "c") for student_id in reversed(self.STUDENTS)))
        return Reader(database)

    @staticmethod
    def students(reader: Reader) -> tuple[Pages, Key]:
        """Return how to read the list of students, and its key."""
        return lambda after, size: reader.list_students(StudentSearch(), after, size), lambda row: (row.student_id,)

    @staticmethod
    def roster(reader: Reader) -> tuple[Pages, Key]:
        """Return how to read the roster of the course, and its key."""
        return lambda after, size: reader.list_roster("c", RosterFilter(), after, size), lambda row: (
            row.enrollment.number,
        )

    @pytest.mark.parametrize("size", [1, 3, 10, 11])
    def test_every_row_once(self, reader_of_ten: Reader, size: int) -> None:
        """The pages together are the whole list, whatever their size."""
        assert [key for (key,) in read_pages(*self.students(reader_of_ten), size)] == sorted(self.STUDENTS)
        assert [number for (number,) in read_pages(*self.roster(reader_of_ten), size)] == list(range(1, 11))

    def test_a_students_courses(self, reader_of_ten: Reader, ledger: Ledger) -> None:
        """A page can end between two attempts at one course."""
        carry_out(ledger, *map(CreateCourse, "de"), Enroll("a", "e"), Enroll("a", "d"))
        for course_id in ("d", "d", "e"):
            carry_out(ledger, Unenroll("a", course_id), Enroll("a", course_id))
        found = read_pages(
            lambda after, size: reader_of_ten.list_courses("a", StudentCourseFilter(ALL_STATES), after, size),
            lambda row: (row.enrollment.course_id, row.enrollment.attempt),
            2,
        )
        assert found == [("c", 1), ("d", 1), ("d", 2), ("d", 3), ("e", 1), ("e", 2)]

    def test_the_catalogue(self, reader_of_ten: Reader, ledger: Ledger) -> None:
        """Courses are ordered by id, byte by byte."""
        carry_out(ledger, *map(CreateCourse, ("B", "b", "c-1", "C")))
        found = read_pages(
            lambda after, size: reader_of_ten.search_courses(ALL_COURSES, after, size), lambda row: (row.course_id,), 2
        )
        assert found == [("B",), ("C",), ("b",), ("c",), ("c-1",)]

    def test_rows_added_between_pages(self, reader_of_ten: Reader, ledger: Ledger) -> None:
        """Rows added after the present page are listed, rows added before it are not."""
        new_students = iter([("A", "p0"), ("a0", "zz")])

        def change() -> None:
            carry_out(ledger, *map(CreateStudent, next(new_students, ())))

        found = [key for (key,) in read_pages(*self.students(reader_of_ten), 4, change)]
        assert found == sorted([*self.STUDENTS, "p0", "zz"])

    def test_rows_removed_between_pages(self, reader_of_ten: Reader, ledger: Ledger) -> None:
        """The next page starts at the same place even if the last row of the page was removed."""
        deleted_students = iter([("a.1", "b"), ("p2",)])

        def change() -> None:
            carry_out(ledger, *(DeleteStudent(student_id, force=True) for student_id in next(deleted_students, ())))

        found = [key for (key,) in read_pages(*self.students(reader_of_ten), 4, change)]
        assert found == ["B", "a", "a-1", "a.1", "a~", "p1", "p2", "p3", "z"]

    def test_a_roster_that_changes_between_pages(self, reader_of_ten: Reader, ledger: Ledger) -> None:
        """A student who enrolls again is at the end, with a new number."""
        batches = iter([(Unenroll("z", "c"), Unenroll("b", "c"), Enroll("z", "c"))])

        def change() -> None:
            carry_out(ledger, *next(batches, ()))

        found = [number for (number,) in read_pages(*self.roster(reader_of_ten), 4, change)]
        assert found == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]

    def test_a_student_restored_between_pages(self, reader_of_ten: Reader, ledger: Ledger) -> None:
        """A student who is restored after the present page is listed."""
        carry_out(ledger, DeleteStudent("z", force=True))
        batches = iter([(UndeleteStudent("z"),)])

        def change() -> None:
            carry_out(ledger, *next(batches, ()))

        assert read_pages(*self.students(reader_of_ten), 4, change)[-1] == ("z",)
