"""Fixtures of the tests of BatchWrite."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.batches import Blocks
from tests.support.postgres import Cluster
from tests.support.servers import Registrar, registrar_on


@pytest.fixture
def other_url(database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A second freshly migrated database of the same kind."""
    if database_url.startswith("sqlite"):
        file = request.getfixturevalue("_migrated_sqlite_file")
        yield f"sqlite:///{shutil.copy(file, tmp_path / 'other.db')}"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = database_url.rpartition("/")[2] + "_other"
    yield cluster.create_database(name, template="migrated")
    cluster.drop_database(name)


@pytest.fixture
async def other_registrar(other_url: str) -> AsyncIterator[Registrar]:
    """Stubs of a server on the second database."""
    async with registrar_on(other_url) as stubs:
        yield stubs


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    """The blocks that servers of this process begin from now on."""
    return Blocks(monkeypatch)
