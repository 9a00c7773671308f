"""The migrations: what they make, that they go both ways, and that they say what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import NullPool, create_engine

from registrar_server import migrate
from registrar_server.migrate import data_steps, schema
from registrar_server.migrate.lock import migration_lock
from registrar_server.migrate.revisions import KnownMigrations, alembic_config
from registrar_server.storage.models import Base
from tests.support.databases import described, execute, tables

KNOWN = KnownMigrations.read()
REVISIONS = KNOWN.revisions
SEED = KNOWN.data_steps["20261123_1610"][0]


@pytest.fixture
def modelled(empty_database_url: str) -> str:
    """A database made from the models, to compare with; no other test may have one."""
    engine = create_engine(empty_database_url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    return empty_database_url


def migrated_beside(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A migrated database of the same kind as another one."""
    return str(request.getfixturevalue(f"{url.partition(':')[0]}_url"))


def test_the_migrated_schema_is_the_one_the_models_describe(
    modelled: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Columns in order with type and nullability, keys, checks, indexes: what the database says of both is equal."""
    assert described(migrated_beside(modelled, tmp_path, request)) == described(modelled)


def test_autogenerate_finds_nothing_to_do(database_url: str) -> None:
    """Alembic sees no difference between a migrated database and the models, and leaves yoyo's tables alone."""
    config = alembic_config()
    with schema.connect(schema.parse_url(database_url)) as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_every_constraint_has_a_full_name(database_url: str) -> None:
    """Every key, check and index carries its kind and its table in its name, so that a migration can speak of it."""
    for table, parts in described(database_url).items():
        for name in parts["constraints"]:
            kind, _, rest = name.partition("_")
            assert kind in {"pk", "fk", "uq", "ck", "ix"}
            assert rest == table or rest.startswith(f"{table}_")


def test_revisions_stand_in_order(empty_database_url: str) -> None:
    """Each of the first revisions adds its tables to those before it; later ones change them."""
    assert [sorted(added_by(empty_database_url, revision)) for revision in REVISIONS] == [
        ["courses", "students"],
        ["enrollments"],
        ["event_counter", "events", "request_ids"],
        [],
    ]


def added_by(url: str, revision: str) -> set[str]:
    before = tables(url)
    migrate.upgrade(url, revision)
    return tables(url) - before


@pytest.mark.parametrize("position", range(len(REVISIONS)), ids=REVISIONS)
def test_each_revision_can_be_taken_back(empty_database_url: str, position: int) -> None:
    """One revision up, down and up again: down leaves what was there before, up what was there after."""
    for earlier in REVISIONS[:position]:
        migrate.upgrade(empty_database_url, earlier)
    before = described(empty_database_url)
    migrate.upgrade(empty_database_url, "+1")
    after = described(empty_database_url)

    migrate.downgrade(empty_database_url, "-1")
    assert described(empty_database_url) == before
    migrate.upgrade(empty_database_url, "+1")
    assert described(empty_database_url) == after


def test_up_down_and_up_again(empty_database_url: str) -> None:
    """All the way up, to the base, and up again ends in the same schema, up to date."""
    migrate.upgrade(empty_database_url)
    up = described(empty_database_url)

    migrate.downgrade(empty_database_url, "base")
    assert tables(empty_database_url) == set()
    assert migrate.current(empty_database_url) == migrate.AppliedMigrations(None, ())

    migrate.upgrade(empty_database_url)
    assert described(empty_database_url) == up
    assert migrate.check(empty_database_url).state is migrate.MigrationState.UP_TO_DATE


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    """A database that is up to date, or further than asked for, is left alone, with what is in it."""
    execute(database_url, "UPDATE event_counter SET revision = 41")
    migrate.upgrade(database_url)
    migrate.upgrade(database_url, REVISIONS[0])
    assert migrate.current(database_url) == migrate.AppliedMigrations(REVISIONS[-1], KNOWN.step_names)
    assert counter(database_url) == [(1, 41)]


def test_the_event_counter_is_seeded(database_url: str) -> None:
    """The history starts from revision 0."""
    assert counter(database_url) == [(1, 0)]


def test_a_data_step_bears_being_run_twice(database_url: str) -> None:
    """A step killed before it was marked runs again, and must not touch what has been counted since."""
    execute(database_url, "UPDATE event_counter SET revision = 41")
    execute(database_url, "DELETE FROM _yoyo_migration")
    migrate.upgrade(database_url)
    assert counter(database_url) == [(1, 41)]


def test_a_data_step_can_be_taken_back(database_url: str) -> None:
    """Its rollback removes what it added, and the database then lacks exactly this step."""
    url = schema.parse_url(database_url)
    with migration_lock(url):
        data_steps.revert(url, SEED)
    assert counter(database_url) == []
    assert migrate.check(database_url).pending == (SEED.name,)

    migrate.upgrade(database_url)
    assert counter(database_url) == [(1, 0)]


def test_every_data_step_has_a_rollback() -> None:
    """Beside every data step lies the file that takes it back."""
    steps = [step for revision in REVISIONS for step in KNOWN.data_steps[revision]]
    assert [step.name for step in steps if not step.path.with_suffix(".rollback.sql").exists()] == []


def counter(url: str) -> list[tuple[int, int]]:
    return [tuple(row) for row in execute(url, "SELECT id, revision FROM event_counter")]
