"""The migrations: they create the schema of the models, and run in both directions."""

from __future__ import annotations

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
def url_of_models(empty_database_url: str) -> str:
    """A database created from the models, for comparison only."""
    engine = create_engine(empty_database_url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    return empty_database_url


def migrated_url_like(url: str, request: pytest.FixtureRequest) -> str:
    """Return the URL of a migrated database of the same kind."""
    return str(request.getfixturevalue(f"{url.partition(':')[0]}_url"))


def test_the_migrated_schema_equals_the_models(url_of_models: str, request: pytest.FixtureRequest) -> None:
    """Migrations and models create the same columns in the same order, and the same keys, checks and indexes."""
    assert described(migrated_url_like(url_of_models, request)) == described(url_of_models)


def test_autogenerate_finds_nothing_to_do(database_url: str) -> None:
    """Alembic finds no difference between a migrated database and the models, and ignores yoyo's tables."""
    config = alembic_config()
    with schema.connect(schema.parse_url(database_url)) as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_every_constraint_has_a_full_name(database_url: str) -> None:
    """The name of every key, check and index contains its kind and its table, so that a migration can refer to it."""
    for table, parts in described(database_url).items():
        for name in parts["constraints"]:
            kind, _, rest = name.partition("_")
            assert kind in {"pk", "fk", "uq", "ck", "ix"}
            assert rest == table or rest.startswith(f"{table}_")


def test_revisions_add_tables_in_order(empty_database_url: str) -> None:
    """The first revisions add the tables, and the fourth changes them."""
    assert [sorted(tables_added_by(empty_database_url, revision)) for revision in REVISIONS[:4]] == [
        ["courses", "students"],
        ["enrollments"],
        ["event_counter", "events", "request_ids"],
        [],
    ]


def tables_added_by(url: str, revision: str) -> set[str]:
    before = tables(url)
    migrate.upgrade(url, revision)
    return tables(url) - before


@pytest.mark.parametrize("position", range(len(REVISIONS)), ids=REVISIONS)
def test_each_revision_can_be_reverted(empty_database_url: str, position: int) -> None:
    """A downgrade restores the schema before a revision, and another upgrade the schema after it."""
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
    """An upgrade, a downgrade to the base and another upgrade end in the same schema."""
    migrate.upgrade(empty_database_url)
    up = described(empty_database_url)

    migrate.downgrade(empty_database_url, "base")
    assert tables(empty_database_url) == set()
    assert migrate.current(empty_database_url) == migrate.AppliedMigrations(None, ())

    migrate.upgrade(empty_database_url)
    assert described(empty_database_url) == up
    assert migrate.check(empty_database_url).state is migrate.MigrationState.UP_TO_DATE


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    """A database at the target revision or a later one is not changed."""
    execute(database_url, "UPDATE event_counter SET revision = 41")
    migrate.upgrade(database_url)
    migrate.upgrade(database_url, REVISIONS[0])
    assert migrate.current(database_url) == migrate.AppliedMigrations(REVISIONS[-1], KNOWN.step_names)
    assert counter(database_url) == [(1, 41)]


def test_the_event_counter_is_seeded(database_url: str) -> None:
    """The event counter starts at revision 0."""
    assert counter(database_url) == [(1, 0)]


def test_a_data_step_is_idempotent(database_url: str) -> None:
    """A step that was killed before it was marked runs again, and does not change a counter in use."""
    execute(database_url, "UPDATE event_counter SET revision = 41")
    execute(database_url, "DELETE FROM _yoyo_migration")
    migrate.upgrade(database_url)
    assert counter(database_url) == [(1, 41)]


def test_a_data_step_can_be_reverted(database_url: str) -> None:
    """The rollback removes the rows of the step, and the step is pending again."""
    url = schema.parse_url(database_url)
    with migration_lock(url):
        data_steps.revert(url, SEED)
    assert counter(database_url) == []
    assert migrate.check(database_url).pending == (SEED.name,)

    migrate.upgrade(database_url)
    assert counter(database_url) == [(1, 0)]


def test_every_data_step_has_a_rollback() -> None:
    """Every data step has a rollback file."""
    steps = [step for revision in REVISIONS for step in KNOWN.data_steps[revision]]
    assert [step.name for step in steps if not step.path.with_suffix(".rollback.sql").exists()] == []


def counter(url: str) -> list[tuple[int, int]]:
    return [tuple(row) for row in execute(url, "SELECT id, revision FROM event_counter")]
