"""A database that cannot be reached for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from registrar_server.storage.engines import sqlite_file
from tests.support.databases import execute
from tests.support.postgres import Cluster


@contextlib.contextmanager
def database_outage(url: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Make the database unreachable within the ``with`` block: move its file, or refuse its connections."""
    if file := sqlite_file(url):
        away = file.rename(file.with_suffix(".away"))
        yield
        away.rename(file)
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    admin, name = cluster.url("postgres"), url.rpartition("/")[2]
    execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    execute(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=name)
    yield
    execute(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
