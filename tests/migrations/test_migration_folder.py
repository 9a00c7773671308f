"""The migrations folder: how it is found, how errors in it are reported, and how a new revision is created."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from registrar_server import migrate
from registrar_server.migrate.revisions import KnownMigrations, migrations_folder
from tests.support.databases import execute, tables

HEAD = KnownMigrations.read().revisions[-1]
REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = {head!r}

def upgrade() -> None:
    {upgrade}

def downgrade() -> None:
    pass
"""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations folder, which this test uses."""
    copy = tmp_path / "our migrations"
    shutil.copytree(migrations_folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("REGISTRAR_MIGRATIONS_DIR", str(copy))
    return copy


def add_revision(copied: Path, upgrade: str) -> None:
    (copied / "versions" / "next.py").write_text(REVISION.format(head=HEAD, upgrade=upgrade))


def add_data_step(copied: Path, sql: str, rollback: str = "") -> None:
    (copied / "data" / "0003_next.sql").write_text(sql)
    (copied / "data" / "0003_next.rollback.sql").write_text(rollback)


def test_the_environment_names_the_folder(copied: Path, database_url: str) -> None:
    """``REGISTRAR_MIGRATIONS_DIR`` names the folder, here one with an additional revision."""
    add_revision(copied, "op.create_table('rooms', sa.Column('room_id', sa.Text()))")
    migrate.upgrade(database_url)
    assert "rooms" in tables(database_url)
    assert migrate.current(database_url).revision == "next"


def test_a_percent_sign_in_the_path(copied: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic interpolates its options; a percent sign in the path is taken literally."""
    monkeypatch.setenv("REGISTRAR_MIGRATIONS_DIR", str(copied.rename(copied.parent / "100% migrations")))
    migrate.downgrade(sqlite_url, "base")
    assert tables(sqlite_url) == set()


def test_an_older_version_refuses_the_database_of_a_newer_one(
    copied: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a newer version has migrated the database, an older version reports it as unknown."""
    add_revision(copied, "pass")
    migrate.upgrade(database_url)
    monkeypatch.delenv("REGISTRAR_MIGRATIONS_DIR")
    assert migrate.check(database_url).state is migrate.MigrationState.UNKNOWN


def test_a_missing_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    """A check without a migrations folder raises an error."""
    monkeypatch.setenv("REGISTRAR_MIGRATIONS_DIR", str(tmp_path))
    with pytest.raises(migrate.MigrationError, match="There are no migrations in"):
        migrate.check(sqlite_url)


def test_a_failing_revision_leaves_nothing(copied: Path, database_url: str) -> None:
    """A revision that fails is rolled back, including its DDL; after a correction it runs."""
    add_revision(copied, "op.create_table('rooms', sa.Column('id', sa.Text())); op.execute('SELECT nonsense')")
    with pytest.raises(migrate.MigrationError, match=r"Schema revision next failed and was rolled back: .*nonsense"):
        migrate.upgrade(database_url)
    assert "rooms" not in tables(database_url)
    assert migrate.current(database_url).revision == HEAD

    add_revision(copied, "op.create_table('rooms', sa.Column('id', sa.Text()))")
    migrate.upgrade(database_url)
    assert "rooms" in tables(database_url)


def test_data_steps_run_at_their_revision(copied: Path, empty_database_url: str) -> None:
    """A data step can fill a column between the revision that adds it and the one that makes it NOT NULL."""
    add_revision(copied, "op.add_column('event_counter', sa.Column('note', sa.Text()))")
    add_data_step(copied, "-- schema: next\nUPDATE event_counter SET note = '100 %';\n")
    last = REVISION.format(
        head="next",
        upgrade="with op.batch_alter_table('event_counter') as table: table.alter_column('note', nullable=False)",
    )
    (copied / "versions" / "last.py").write_text(last.replace('"next"', '"last"', 1))
    migrate.upgrade(empty_database_url)
    assert execute(empty_database_url, "SELECT revision, note FROM event_counter") == [(0, "100 %")]


def test_a_failing_data_step_leaves_nothing(copied: Path, database_url: str) -> None:
    """A data step that fails is rolled back and stays pending."""
    add_data_step(copied, f"-- schema: {HEAD}\nUPDATE event_counter SET revision = 5;\nSELECT nonsense;\n")
    with pytest.raises(migrate.MigrationError, match=r"Data step 0003_next failed and was rolled back: .*nonsense"):
        migrate.upgrade(database_url)
    assert execute(database_url, "SELECT revision FROM event_counter") == [(0,)]
    assert migrate.check(database_url).pending == ("0003_next",)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE event_counter SET revision = 1", "0003_next.sql lacks its header"),
        ("-- schema: nowhere\nSELECT 1", "follow no known revision: 0003_next"),
    ],
)
def test_a_data_step_must_name_its_revision(copied: Path, sqlite_url: str, sql: str, words: str) -> None:
    """A data step that names no known revision is an error before anything runs."""
    add_data_step(copied, sql)
    with pytest.raises(migrate.MigrationError, match=words):
        migrate.upgrade(sqlite_url)


def test_two_heads_are_refused(copied: Path, sqlite_url: str) -> None:
    """Two revisions after the same one, as a git merge can leave them, are an error."""
    add_revision(copied, "pass")
    other = REVISION.format(head=HEAD, upgrade="pass").replace('"next"', '"other"')
    (copied / "versions" / "other.py").write_text(other)
    with pytest.raises(migrate.MigrationError, match="multiple heads"):
        migrate.upgrade(sqlite_url)


class TestRebuildingATableOnSQLite:
    """On SQLite, batch mode copies, drops and renames a table, and foreign keys would treat that as a deletion."""

    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        """A database with one enrollment."""
        execute(
            sqlite_url,
            "INSERT INTO students (student_id, given_name, family_name, email, state, holds, version, create_time,"
            " update_time, search_text) VALUES ('s-1', '', '', '', 'ACTIVE', '[]', 1, 0, 0, '')",
        )
        execute(
            sqlite_url,
            "INSERT INTO courses (course_id, code, title, description, term, credits, meetings,"
            " prerequisite_course_ids, state, version, create_time, update_time, search_text, enrolled_count,"
            " waitlisted_count, last_number)"
            " VALUES ('c-1', '', '', '', '', 0, '[]', '[]', 'OPEN', 1, 0, 0, '', 1, 0, 1)",
        )
        execute(
            sqlite_url,
            "INSERT INTO enrollments (course_id, enrollment_id, student_id, number, attempt, state, grade,"
            " bypassed_rules, reason, version, create_time, update_time, last_skip)"
            " VALUES ('c-1', 'e-1', 's-1', 1, 1, 'ENROLLED', '', '[]', '', 1, 0, 0, '[]')",
        )
        return sqlite_url

    def test_children_of_a_rebuilt_table_remain(self, copied: Path, url: str) -> None:
        """A rebuilt parent keeps its children."""
        add_revision(
            copied,
            "with op.batch_alter_table('courses') as table: table.alter_column('term', nullable=True)",
        )
        migrate.upgrade(url)
        assert execute(url, "SELECT enrollment_id FROM enrollments") == [("e-1",)]

    def test_orphans_are_refused(self, copied: Path, url: str) -> None:
        """A revision that leaves rows without a parent is rolled back."""
        add_revision(copied, "op.execute('DELETE FROM courses')")
        with pytest.raises(migrate.MigrationError, match="refer to nothing, in: enrollments"):
            migrate.upgrade(url)
        assert execute(url, "SELECT course_id FROM courses") == [("c-1",)]


def test_a_revision_from_the_template_runs(copied: Path, database_url: str) -> None:
    """Autogenerate names the file and the revision by the time, and the result runs without changes."""
    execute(database_url, "DROP INDEX ix_events_revision")
    command.revision(configured(copied, database_url), "index events again", autogenerate=True)

    [written] = (copied / "versions").glob("*_index_events_again.py")
    migrate.upgrade(database_url)
    assert migrate.current(database_url).revision == written.name.removesuffix("_index_events_again.py")
    assert "lock_timeout" in written.read_text()


def configured(copied: Path, url: str) -> Config:
    """Return the configuration of ``alembic -c migrations/alembic.ini -x url=…``."""
    return Config(copied / "alembic.ini", cmd_opts=Namespace(x=[f"url={url}"]))
