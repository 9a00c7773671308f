"""A driver on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.drivers import Driver, connect


@pytest.fixture
def driver(database_url: str) -> Iterator[Driver]:
    """A driver on a freshly migrated database: the test runs once on SQLite and once on PostgreSQL."""
    driver = connect(database_url)
    yield driver
    driver.connection.close()
