"""``registrar-server verify`` accepts what the ledger writes, and reports disagreements."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from registrar_server import verify
from registrar_server.core.commands import (
    Complete,
    CreateStudent,
    DeleteCourse,
    Enroll,
    RecordCompletion,
    VoidCompletion,
)
from registrar_server.storage.database import Database
from registrar_server.verify import snapshot
from registrar_server.verify.course_replay import COURSE_TRANSITIONS
from registrar_server.verify.student_replay import STUDENT_TRANSITIONS
from tests.support.ledgers import Ledger, carry_out
from tests.support.shell import Shell
from tests.support.tampering import disagreements_in, tamper


class TestClean:
    """Verify reports nothing about what the ledger writes."""

    def test_an_empty_database(self, engine: Engine) -> None:
        """An empty database is consistent."""
        assert disagreements_in(engine) == []

    def test_every_type_of_event(self, ledger: Ledger, engine: Engine) -> None:
        """The story has events of every type, and is consistent."""
        with engine.connect() as connection:
            happened = set(connection.execute(text("SELECT DISTINCT type FROM events")).scalars())
        assert happened == COURSE_TRANSITIONS.keys() | STUDENT_TRANSITIONS.keys()
        assert disagreements_in(engine) == []

    def test_completions_in_a_deleted_course(self, ledger: Ledger, engine: Engine) -> None:
        """Completions of a deleted course are completed, corrected and voided like any other."""
        carry_out(ledger, RecordCompletion("eve", "cop", "B"), DeleteCourse("cop"))
        carry_out(ledger, Complete("eve", "cop", "A"), RecordCompletion("bob", "cop"))
        with engine.connect() as connection:
            ids = connection.execute(text("SELECT enrollment_id FROM enrollments WHERE course_id = 'cop'")).scalars()
            carry_out(ledger, *map(VoidCompletion, ids))
        assert disagreements_in(engine) == []

    def test_completions_that_an_older_server_made(self, ledger: Ledger, engine: Engine) -> None:
        """Completions that wait for their count, and voided ones that still count, are left out."""
        carry_out(ledger, Enroll("cyd", "cop"), Complete("cyd", "cop", "A"), RecordCompletion("eve", "cop", "B"))
        tamper(engine, "UPDATE enrollments SET counted = NULL", "UPDATE courses SET completed_count = 0")
        assert disagreements_in(engine) == []
        tamper_again = "UPDATE enrollments SET counted = TRUE WHERE enrollment_id = 'id-20'"
        with engine.begin() as connection:
            connection.execute(text(tamper_again))
            connection.execute(text("UPDATE courses SET completed_count = 1 WHERE course_id = 'art'"))
        assert disagreements_in(engine) == []

    def test_a_few_rows_at_a_time(self, ledger: Ledger, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """The result is the same when rows are fetched one by one."""
        monkeypatch.setattr(snapshot, "FETCH_SIZE", 1)
        assert disagreements_in(engine) == []
        tamper(engine, "UPDATE courses SET version = 9 WHERE course_id = 'cop'")
        assert disagreements_in(engine) == ['Course "cop": version is 9, where the history comes to 1.']

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
            assert verify.row_counts(connection) == before == "43 events, 11 enrollments, 3 courses and 5 students"
        event.remove(watched.autocommit, "before_cursor_execute", write)
        watched.close()
        written = next(newcomers) - 1
        assert written > 5
        with verify.open_snapshot(engine) as connection:
            assert verify.row_counts(connection).startswith(f"{43 + 2 * written} events, {11 + written} enrollments")


class TestCommand:
    """``registrar-server verify``."""

    def test_a_consistent_database(self, ledger: Ledger, database_url: str, tmp_path: Path) -> None:
        """A consistent database is reported with its row counts."""
        ended = Shell(tmp_path, database_url).run("verify")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "43 events, 11 enrollments, 3 courses and 5 students agree.\n"

    def test_a_disagreement(self, ledger: Ledger, engine: Engine, database_url: str, tmp_path: Path) -> None:
        """Each disagreement is printed, then their number with the row counts."""
        tamper(engine, "UPDATE students SET version = 9 WHERE student_id = 'ada'")
        ended = Shell(tmp_path, database_url).run("verify")
        assert (ended.returncode, ended.stderr) == (1, "")
        assert ended.stdout.splitlines() == [
            'Student "ada": version is 9, where the history comes to 1.',
            "1 disagreement in 43 events, 11 enrollments, 3 courses and 5 students.",
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
