"""``registrar-server verify`` accepts what the ledger writes, and reports every value that is changed by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from registrar_server import verify
from registrar_server.core.commands import (
    Command,
    Complete,
    CreateCourse,
    CreateStudent,
    DeleteCourse,
    DeleteStudent,
    Enroll,
    Override,
    PlaceHold,
    RecordCompletion,
    ReleaseHold,
    Swap,
    UndeleteCourse,
    UndeleteStudent,
    Unenroll,
    UpdateCourse,
    UpdateStudent,
)
from registrar_server.ledger.ledger import Ledger
from registrar_server.storage.database import Database
from registrar_server.verify import snapshot
from registrar_server.verify.course_replay import COURSE_TRANSITIONS
from registrar_server.verify.student_replay import STUDENT_TRANSITIONS
from tests.support.ledgers import carry_out
from tests.support.shell import Shell

#: The comments name the revisions of the events, and the ids of the enrollments.
STORY: tuple[Command, ...] = (
    *(CreateStudent(student_id) for student_id in ("ada", "bob", "cyd", "dot", "eve")),  # 1 to 5
    CreateCourse("art", {"capacity": 1, "waitlist_capacity": 3}),  # 6
    CreateCourse("bio", {"capacity": 2}),  # 7
    Enroll("ada", "art"),  # 8: id-8 has the seat
    Enroll("bob", "art"),  # 9: id-10 waits
    Enroll("cyd", "art"),  # 10: id-12 waits
    PlaceHold("bob", "BURSAR", "unpaid"),  # 11
    Unenroll("ada", "art"),  # 12; 13 skips bob, 14 promotes cyd
    Enroll("dot", "art", override=Override(frozenset({"COURSE_FULL"}), "the dean asked")),  # 15: id-18, a second seat
    RecordCompletion("dot", "art", "A"),  # 16: id-20, beside the seat
    UpdateCourse("art", {"capacity": 5}),  # 17; bob is skipped for the same reason, which no event repeats
    PlaceHold("bob", "BURSAR", "still unpaid"),  # 18
    ReleaseHold("bob", "BURSAR"),  # 19
    UpdateCourse("art", {"capacity": 1}),  # 20
    Enroll("ada", "bio"),  # 21: id-26
    Enroll("eve", "bio"),  # 22: id-28
    UpdateCourse("bio", {"capacity": None}),  # 23
    Swap("cyd", "art", "bio"),  # 24: id-31; 25
    Complete("ada", "bio", "B"),  # 26
    Complete("ada", "bio", "A"),  # 27
    Unenroll("dot", "art"),  # 28; 29 promotes bob
    Enroll("ada", "art"),  # 30: id-38 waits
    DeleteStudent("eve", force=True),  # 31 and 32
    UndeleteStudent("eve"),  # 33
    DeleteCourse("art", force=True),  # 34 ends bob's, 35 ada's, 36
    UndeleteCourse("art"),  # 37
    Enroll("ada", "art"),  # 38: id-47
    UpdateStudent("eve", {"email": "eve@example.edu"}),  # 39
    PlaceHold("eve", "LIBRARY"),  # 40
    Enroll("dot", "bio"),  # 41: id-51
    CreateCourse("cop"),  # 42
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A ledger with the story in it; its ids are numbered."""
    numbers = itertools.count(1)
    ledger = Ledger(database, new_id=lambda _now: f"id-{next(numbers)}")
    carry_out(ledger, *STORY)
    return ledger


def found(engine: Engine) -> list[str]:
    """Return the disagreements that a verification reports."""
    with verify.open_snapshot(engine) as connection:
        return list(verify.disagreements(connection))


def tamper(engine: Engine, *statements: str) -> None:
    """Change rows directly, with the constraints that would prevent it switched off."""
    with engine.begin() as connection:
        for statement in (*UNBOUND[engine.dialect.name], "DROP INDEX uq_enrollments_live", *statements):
            connection.execute(text(statement))


UNBOUND = {
    "sqlite": ("PRAGMA ignore_check_constraints = ON", "PRAGMA foreign_keys = OFF"),
    "postgresql": (
        "ALTER TABLE enrollments DROP CONSTRAINT ck_enrollments_end_time",
        "SET LOCAL session_replication_role = replica",  # This switches foreign keys off.
    ),
}


class TestClean:
    """Verify reports nothing about what the ledger writes."""

    def test_an_empty_database(self, engine: Engine) -> None:
        """An empty database is consistent."""
        assert found(engine) == []

    def test_every_type_of_event(self, ledger: Ledger, engine: Engine) -> None:
        """The story has events of every type, and is consistent."""
        with engine.connect() as connection:
            happened = set(connection.execute(text("SELECT DISTINCT type FROM events")).scalars())
        assert happened == COURSE_TRANSITIONS.keys() | STUDENT_TRANSITIONS.keys()
        assert found(engine) == []

    def test_a_few_rows_at_a_time(self, ledger: Ledger, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """The result is the same when rows are fetched one by one."""
        monkeypatch.setattr(snapshot, "FETCH_SIZE", 1)
        assert found(engine) == []
        tamper(engine, "UPDATE courses SET version = 9 WHERE course_id = 'cop'")
        assert found(engine) == ['Course "cop": version is 9, where the history comes to 1.']

    def test_while_others_write(self, ledger: Ledger, database_url: str, engine: Engine) -> None:
        """Verify sees one snapshot although other transactions commit between its queries."""
        watched = Database(database_url)
        newcomers = itertools.count(1)

        def write(*_query: Any) -> None:
            number = next(newcomers)
            carry_out(ledger, CreateStudent(f"new-{number}"), Enroll(f"new-{number}", "bio"))

        with verify.open_snapshot(watched.autocommit) as connection:
            before = verify.row_counts(connection)
            event.listen(watched.autocommit, "before_cursor_execute", write)
            assert list(verify.disagreements(connection)) == []
            assert verify.row_counts(connection) == before == "42 events, 11 enrollments, 3 courses and 5 students"
        event.remove(watched.autocommit, "before_cursor_execute", write)
        watched.close()
        written = next(newcomers) - 1
        assert written > 5
        with verify.open_snapshot(engine) as connection:
            assert verify.row_counts(connection).startswith(f"{42 + 2 * written} events, {11 + written} enrollments")


def case(kind: str, *statements: str, finds: str | tuple[str, ...]) -> Any:
    """Return a test case: the tampering statements and the reports expected."""
    return pytest.param(statements, [finds] if isinstance(finds, str) else [*finds], id=kind)


IN_ART = 'Enrollment "{}" in course "art"'.format
IN_BIO = 'Enrollment "{}" in course "bio"'.format

HISTORY = (
    case(
        "gap",
        "UPDATE events SET revision = 44 WHERE revision = 42",
        "UPDATE event_counter SET revision = 44",
        finds="Events: revision 41 is followed by 44.",
    ),
    case(
        "late start",
        "UPDATE events SET revision = revision + 50",
        "UPDATE event_counter SET revision = 92",
        finds="Events: the first revision is 51.",
    ),
    case(
        "repetition",
        "UPDATE events SET revision = 41 WHERE revision = 42",
        "UPDATE event_counter SET revision = 41",
        finds="Events: revision 41 is followed by 41.",
    ),
    case(
        "counter",
        "UPDATE event_counter SET revision = 43",
        finds="Event counter: revision is 43, where the history comes to 42.",
    ),
    case(
        "event id",
        "UPDATE events SET event_id = 'id-1' WHERE revision = 7",
        finds='Event 1: its event_id "id-1" is that of 2 events.',
    ),
)

COURSES = (
    case(
        "seats",
        "UPDATE courses SET enrolled_count = 3 WHERE course_id = 'bio'",
        finds='Course "bio": enrolled_count is 3, where its enrollments come to 2.',
    ),
    case(
        "waitlisted count",
        "UPDATE courses SET waitlisted_count = 3 WHERE course_id = 'bio'",
        finds='Course "bio": waitlisted_count is 3, where its enrollments come to 0.',
    ),
    case(
        "last number",
        "UPDATE courses SET last_number = 3 WHERE course_id = 'bio'",
        finds='Course "bio": last_number is 3, where its enrollments come to 4.',
    ),
    case(
        "capacity",
        "UPDATE courses SET capacity = 3 WHERE course_id = 'art'",
        finds='Course "art": capacity is 3, where the history comes to 1.',
    ),
    case(
        "version",
        "UPDATE courses SET version = 3 WHERE course_id = 'art'",
        finds='Course "art": version is 3, where the history comes to 5.',
    ),
    case(
        "deletion",
        "UPDATE courses SET delete_time = 1 WHERE course_id = 'cop'",
        finds='Course "cop": deleted is true, where the history comes to false.',
    ),
    case(
        "number gap",
        "UPDATE enrollments SET number = 9 WHERE enrollment_id = 'id-51'",
        "UPDATE courses SET last_number = 9 WHERE course_id = 'bio'",
        finds='Course "bio": number 3 is followed by 9.',
    ),
    case(
        "number order",
        "UPDATE enrollments SET number = 99 WHERE enrollment_id = 'id-10'",
        "UPDATE enrollments SET number = 2 WHERE enrollment_id = 'id-12'",
        "UPDATE enrollments SET number = 3 WHERE enrollment_id = 'id-10'",
        finds='Course "art": number 2 was given after number 3.',
    ),
    case(
        "attempt",
        "UPDATE enrollments SET attempt = 4 WHERE enrollment_id = 'id-47'",
        finds='Course "art": the attempts of student "ada" are 1, 2, 4.',
    ),
    case(
        "two live enrollments",
        "UPDATE enrollments SET student_id = 'cyd', attempt = 2 WHERE enrollment_id = 'id-51'",
        "UPDATE events SET student_id = 'cyd' WHERE enrollment_id = 'id-51'",
        finds='Course "bio": student "cyd" has 2 live enrollments.',
    ),
    case(
        "missing course",
        "DELETE FROM courses WHERE course_id = 'cop'",
        finds='Course "cop" is missing, but there are events or enrollments of it.',
    ),
    case(
        "course without events",
        "UPDATE events SET course_id = 'cow' WHERE course_id = 'cop'",
        finds=('Course "cop" has no events.', 'Course "cow" is missing, but there are events or enrollments of it.'),
    ),
)

ENROLLMENTS = (
    case(
        "student",
        "UPDATE enrollments SET student_id = 'eve' WHERE enrollment_id = 'id-12'",
        finds=f'{IN_ART("id-12")}: student_id is "eve", where the history comes to "cyd".',
    ),
    case(
        "state",
        "UPDATE enrollments SET state = 'DROPPED' WHERE enrollment_id = 'id-26'",
        finds=f'{IN_BIO("id-26")}: state is "DROPPED", where the history comes to "COMPLETED".',
    ),
    case(
        "version",
        "UPDATE enrollments SET version = 2 WHERE enrollment_id = 'id-26'",
        finds=f"{IN_BIO('id-26')}: version is 2, where the history comes to 3.",
    ),
    case(
        "grade",
        "UPDATE enrollments SET grade = 'B' WHERE enrollment_id = 'id-26'",
        finds=f'{IN_BIO("id-26")}: grade is "B", where the history comes to "A".',
    ),
    case(
        "passed",
        "UPDATE enrollments SET passed = FALSE WHERE enrollment_id = 'id-26'",
        finds=f"{IN_BIO('id-26')}: passed is false, where the history comes to true.",
    ),
    case(
        "bypassed rules",
        "UPDATE enrollments SET bypassed_rules = '[]' WHERE enrollment_id = 'id-18'",
        finds=f'{IN_ART("id-18")}: bypassed_rules is [], where the history comes to ["COURSE_FULL"].',
    ),
    case(
        "last skip",
        "UPDATE enrollments SET last_skip = '[1]' WHERE enrollment_id = 'id-12'",
        finds=f"{IN_ART('id-12')}: last_skip is [1], where the history comes to [].",
    ),
    case(
        "missing end time",
        "UPDATE enrollments SET end_time = NULL WHERE enrollment_id = 'id-18'",
        finds=f"{IN_ART('id-18')}: it is DROPPED, but has no end_time.",
    ),
    case(
        "unexpected end time",
        "UPDATE enrollments SET end_time = 1 WHERE enrollment_id = 'id-51'",
        finds=f"{IN_BIO('id-51')}: it is ENROLLED, but has an end_time.",
    ),
    case(
        "missing enrollment",
        "DELETE FROM enrollments WHERE enrollment_id = 'id-51'",
        "UPDATE courses SET enrolled_count = 1, last_number = 3 WHERE course_id = 'bio'",
        finds=f"{IN_BIO('id-51')} is missing, but there are events of it.",
    ),
    case(
        "enrollment without events",
        "UPDATE events SET enrollment_id = 'id-99' WHERE enrollment_id = 'id-51'",
        finds=(f"{IN_BIO('id-99')} is missing, but there are events of it.", f"{IN_BIO('id-51')} has no events."),
    ),
)

EVENTS = (
    case(
        "previous state",
        "UPDATE events SET previous_state = 'WAITLISTED' WHERE revision = 12",
        finds='Event 12 (STUDENT_UNENROLLED): previous_state is "WAITLISTED", where the history comes to "ENROLLED".',
    ),
    case(
        "state",
        "UPDATE events SET state = 'DROPPED' WHERE revision = 14",
        finds='Event 14 (STUDENT_PROMOTED): state is "DROPPED", where the history comes to "ENROLLED".',
    ),
    case(
        "completion of no enrollment",
        "UPDATE events SET type = 'ENROLLMENT_COMPLETED' WHERE revision = 16",
        finds=f'Event 16 (ENROLLMENT_COMPLETED): {IN_ART("id-20")} was "" before.',
    ),
    case(
        "version",
        "UPDATE events SET enrollment_version = 3 WHERE revision = 26",
        finds="Event 26 (ENROLLMENT_COMPLETED): enrollment_version is 3, where the history comes to 2.",
    ),
    case(
        "version after a skip",
        "UPDATE events SET enrollment_version = 2 WHERE revision = 13",
        finds="Event 13 (PROMOTION_SKIPPED): enrollment_version is 2, where the history comes to 1.",
    ),
    case(
        "student",
        "UPDATE events SET student_id = 'eve' WHERE revision = 28",
        finds='Event 28 (STUDENT_UNENROLLED): student_id is "eve", where the history comes to "dot".',
    ),
    case(
        "seats",
        "UPDATE events SET enrolled_count = 0 WHERE revision = 14",
        finds="Event 14 (STUDENT_PROMOTED): enrolled_count is 0, where the history comes to 1.",
    ),
    case(
        "waitlisted count",
        "UPDATE events SET waitlisted_count = NULL WHERE revision = 16",
        finds="Event 16 (COMPLETION_RECORDED): waitlisted_count is null, where the history comes to 1.",
    ),
    case(
        "capacity",
        "UPDATE events SET capacity = 2 WHERE revision = 14",
        finds="Event 14 (STUDENT_PROMOTED): capacity is 2, where the history comes to 1.",
    ),
    case(
        "capacity before a change",
        """UPDATE events SET changes = '[["capacity","2","5"]]' WHERE revision = 17""",
        finds='Event 17 (COURSE_UPDATED): capacity before is "2", where the history comes to "1".',
    ),
    case(
        "capacity after a change",
        """UPDATE events SET changes = '[["capacity","1","4"]]' WHERE revision = 17""",
        finds=(
            "Event 17 (COURSE_UPDATED): capacity is 5, where the history comes to 4.",
            'Event 20 (COURSE_UPDATED): capacity before is "5", where the history comes to "4".',
        ),
    ),
    case(
        "unreadable change",
        "UPDATE events SET changes = '5' WHERE revision = 20",
        finds=(
            "Event 20 (COURSE_UPDATED): capacity is 1, where the history comes to 5.",
            'Course "art": capacity is 1, where the history comes to 5.',
        ),
    ),
    case(
        "capacity of a course without one",
        "UPDATE events SET capacity = 5 WHERE revision = 24",
        finds="Event 24 (STUDENT_ENROLLED): capacity is 5, where the history comes to null.",
    ),
    case(
        "seat beyond capacity",
        "UPDATE events SET bypassed_rules = '[]' WHERE revision = 15",
        finds="Event 15 (STUDENT_ENROLLED): it gives seat 2, where there are 1.",
    ),
    case(
        "seats beyond capacity 0",
        "UPDATE events SET capacity = 0 WHERE course_id = 'art' AND revision < 17",
        """UPDATE events SET changes = '[["capacity","0","5"]]' WHERE revision = 17""",
        finds=(
            "Event 8 (STUDENT_ENROLLED): it gives seat 1, where there are 0.",
            "Event 14 (STUDENT_PROMOTED): it gives seat 1, where there are 0.",
        ),
    ),
    case(
        "missing event",
        "DELETE FROM events WHERE revision = 28",
        finds=(
            "Events: revision 27 is followed by 29.",
            "Event 29 (STUDENT_PROMOTED): enrolled_count is 1, where the history comes to 2.",
            f'{IN_ART("id-18")}: state is "DROPPED", where the history comes to "ENROLLED".',
            f"{IN_ART('id-18')}: version is 2, where the history comes to 1.",
        ),
    ),
    case(
        "missing creation of a course",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 6",
        finds=(
            'Event 6 (COURSE_UPDATED): Course "art" was unknown before.',
            'Event 6 (COURSE_UPDATED): capacity before is null, where the history comes to "1".',
        ),
    ),
    case(
        "missing deletion of a course",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 36",
        finds='Event 37 (COURSE_UNDELETED): Course "art" was known before.',
    ),
    case(
        "enrollment after a course is deleted",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 36",
        "UPDATE events SET type = 'COURSE_DELETED' WHERE revision = 37",
        finds='Event 38 (STUDENT_ENROLLED): Course "art" was deleted before.',
    ),
)

STUDENTS = (
    case(
        "version",
        "UPDATE students SET version = 9 WHERE student_id = 'ada'",
        finds='Student "ada": version is 9, where the history comes to 1.',
    ),
    case(
        "deletion",
        "UPDATE students SET delete_time = 1 WHERE student_id = 'bob'",
        finds='Student "bob": deleted is true, where the history comes to false.',
    ),
    case(
        "missing hold",
        "UPDATE students SET holds = '[]' WHERE student_id = 'eve'",
        finds='Student "eve": holds is {}, where the history comes to {"LIBRARY": null}.',
    ),
    case(
        "reason of a hold",
        """UPDATE students SET holds = '[["LIBRARY","a book",1]]' WHERE student_id = 'eve'""",
        finds='Student "eve": holds is {"LIBRARY": "a book"}, where the history comes to {"LIBRARY": null}.',
    ),
    case(
        "unreadable holds",
        "UPDATE students SET holds = '5' WHERE student_id = 'eve'",
        finds='Student "eve": holds is 5, where the history comes to {"LIBRARY": null}.',
    ),
    case(
        "code before a replaced hold",
        """UPDATE events SET changes = '[["code",null,"BURSAR"],["reason","unpaid","still unpaid"]]'
        WHERE revision = 18""",
        finds='Event 18 (HOLD_PLACED): code before is null, where the history comes to "BURSAR".',
    ),
    case(
        "reason before a replaced hold",
        """UPDATE events SET changes = '[["code","BURSAR","BURSAR"],["reason",null,"still unpaid"]]'
        WHERE revision = 18""",
        finds='Event 18 (HOLD_PLACED): reason before is null, where the history comes to "unpaid".',
    ),
    case(
        "code after a released hold",
        """UPDATE events SET changes = '[["code","BURSAR","BURSAR"],["reason","still unpaid",null]]'
        WHERE revision = 19""",
        finds='Event 19 (HOLD_RELEASED): code after is "BURSAR", where the history comes to null.',
    ),
    case(
        "missing creation of a student",
        "UPDATE events SET type = 'STUDENT_UPDATED' WHERE revision = 1",
        finds='Event 1 (STUDENT_UPDATED): Student "ada" was unknown before.',
    ),
    case(
        "second creation of a student",
        "UPDATE events SET type = 'STUDENT_CREATED' WHERE revision = 39",
        finds='Event 39 (STUDENT_CREATED): Student "eve" was known before.',
    ),
    case(
        "event type of a course",
        "UPDATE events SET type = 'COURSE_UPDATED' WHERE revision = 39",
        finds=(
            'Event 39 (COURSE_UPDATED): nothing of this type happens to Student "eve".',
            'Student "eve": version is 5, where the history comes to 4.',
        ),
    ),
    case(
        "missing student",
        "DELETE FROM students WHERE student_id = 'bob'",
        finds='Student "bob" is missing, but there are events of it.',
    ),
    case(
        "student without events",
        "UPDATE events SET student_id = 'fay' WHERE student_id = 'eve' AND course_id = ''",
        finds=('Student "eve" has no events.', 'Student "fay" is missing, but there are events of it.'),
    ),
    case(
        "live enrollment of a deleted student",
        "UPDATE students SET delete_time = 1 WHERE student_id = 'cyd'",
        finds=(
            'Student "cyd": deleted is true, where the history comes to false.',
            f'{IN_BIO("id-31")}: it is ENROLLED, but the course or student "cyd" is deleted.',
        ),
    ),
    case(
        "live enrollment in a deleted course",
        "UPDATE courses SET delete_time = 1 WHERE course_id = 'art'",
        finds=(
            'Course "art": deleted is true, where the history comes to false.',
            f'{IN_ART("id-47")}: it is ENROLLED, but the course or student "ada" is deleted.',
        ),
    ),
)


class TestTampered:
    """Verify reports a change by hand, and nothing else."""

    @pytest.mark.parametrize(("statements", "finds"), HISTORY)
    def test_history(self, ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
        """Revisions are complete, and revisions and event ids are unique."""
        tamper(engine, *statements)
        assert found(engine) == finds

    @pytest.mark.parametrize(("statements", "finds"), COURSES)
    def test_course(self, ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
        """A course row must match its enrollments and its events."""
        tamper(engine, *statements)
        assert found(engine) == finds

    @pytest.mark.parametrize(("statements", "finds"), ENROLLMENTS)
    def test_enrollment(self, ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
        """An enrollment row must match its events."""
        tamper(engine, *statements)
        assert found(engine) == finds

    @pytest.mark.parametrize(("statements", "finds"), EVENTS)
    def test_event(self, ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
        """An event of a course must match the events before it."""
        tamper(engine, *statements)
        assert found(engine) == finds

    @pytest.mark.parametrize(("statements", "finds"), STUDENTS)
    def test_student(self, ledger: Ledger, engine: Engine, statements: tuple[str, ...], finds: list[str]) -> None:
        """A student row must match its events, and a deleted student or course has no live enrollment."""
        tamper(engine, *statements)
        assert found(engine) == finds

    def test_a_document_that_is_not_json(self, sqlite_url: str) -> None:
        """On SQLite a document column can hold text that is not JSON."""
        database = Database(sqlite_url)
        carry_out(Ledger(database), CreateStudent("ada"))
        with database.autocommit.connect() as connection:
            connection.execute(text("UPDATE students SET holds = 'none'"))
        assert found(database.autocommit) == ['Student "ada": holds is "none", where the history comes to {}.']
        database.close()


class TestCommand:
    """``registrar-server verify``."""

    def test_a_consistent_database(self, ledger: Ledger, database_url: str, tmp_path: Path) -> None:
        """A consistent database is reported with its row counts."""
        ended = Shell(tmp_path, database_url).run("verify")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "42 events, 11 enrollments, 3 courses and 5 students agree.\n"

    def test_a_disagreement(self, ledger: Ledger, engine: Engine, database_url: str, tmp_path: Path) -> None:
        """Each disagreement is printed, then their number with the row counts."""
        tamper(engine, "UPDATE students SET version = 9 WHERE student_id = 'ada'")
        ended = Shell(tmp_path, database_url).run("verify")
        assert (ended.returncode, ended.stderr) == (1, "")
        assert ended.stdout.splitlines() == [
            'Student "ada": version is 9, where the history comes to 1.',
            "1 disagreement in 42 events, 11 enrollments, 3 courses and 5 students.",
        ]

    def test_an_empty_database(self, empty_database_url: str, tmp_path: Path) -> None:
        """A database without tables is refused."""
        ended = Shell(tmp_path, empty_database_url).run("verify")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "registrar-server: The database is empty. Run `registrar-server migrate upgrade`.\n"

    def test_a_database_that_cannot_be_read(self, engine: Engine, database_url: str, tmp_path: Path) -> None:
        """The error of the database is reported without a traceback."""
        tamper(engine, "ALTER TABLE event_counter RENAME TO elsewhere")
        ended = Shell(tmp_path, database_url).run("verify")
        assert ended.returncode == 1
        assert ended.stderr.startswith("registrar-server: The database cannot be read: ")
        assert "event_counter" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_pluralize() -> None:
    """Numbers have thousands separators, and nouns a plural."""
    assert verify.pluralize(12_345, "event") == "12,345 events"
    assert verify.pluralize(1, "course") == "1 course"
    assert verify.pluralize(0, "student") == "0 students"
