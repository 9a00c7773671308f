"""The baseline of a bulk load: COPY into tables like those of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench import copying
from bench.messages import Crowd
from bench.stores import Store, Stores
from tests.support.databases import described
from tests.support.postgres import Cluster

STORED = 4_000


@pytest.fixture
def store(cluster: Cluster, tmp_path: Path) -> Iterator[Store]:
    """A seeded database of the bench."""
    yield Stores(tmp_path, cluster, 10, Crowd(students=10, seats=5, drops=1)).make("postgresql", STORED)
    for name in ("store_1", f"seeded_{STORED}"):
        cluster.drop_database(name)


def unnamed(table: dict[str, Any]) -> list[str]:
    """Return the columns, the constraints and the indexes of a table without their names."""
    names = {"name", "duplicates_constraint"}
    constraints = [
        {key: value for key, value in each.items() if key not in names} for each in table["constraints"].values()
    ]
    return sorted(map(str, [*table["columns"], *constraints]))


def test_each_enrollment_its_event_and_its_request_id_are_copied(
    store: Store, cluster: Cluster, tmp_path: Path
) -> None:
    sample = copying.run(source=store.url, target=store.url, folder=str(tmp_path), database=cluster.pid)
    assert not sample["failed"]
    assert sample["calls_per_s"] > 0
    with psycopg.connect(store.url) as connection:
        exported = [connection.execute(query).rowcount for query in copying.ROWS.values()]
    assert exported == [STORED] * 3


def test_the_database_is_as_before_when_all_is_copied(store: Store, cluster: Cluster, tmp_path: Path) -> None:
    before = described(store.url)
    copying.run(source=store.url, target=store.url, folder=str(tmp_path), database=cluster.pid)
    assert described(store.url) == before
    assert store.check(changes=0) == ""
    assert store.disagreements() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table", copying.ROWS)
def test_the_new_tables_have_all_columns_constraints_and_indexes(postgresql_url: str, table: str) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        copying.create_like(connection, table)
    tables = described(postgresql_url)
    assert unnamed(tables[f"copied_{table}"]) == unnamed(tables[table])
