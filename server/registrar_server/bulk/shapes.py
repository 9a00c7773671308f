"""Set-based statements: many rows, one statement, the same few shapes on both databases.

A ``Select``, ``Insert`` or ``Update`` describes a statement by table and columns; a dialect renders it once, as text
that never changes, and turns rows into its parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Table

from registrar_server.models import Base

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Statement:
    """What every shape names: a table, and the columns that identify rows. Each is made once and equals only itself."""

    table: str
    key: tuple[str, ...]

    @cached_property
    def model(self) -> Table:
        """The table's definition."""
        return Base.metadata.tables[self.table]


@dataclass(frozen=True, eq=False)
class Select(Statement):
    """Rows by key; documents come as their JSON text."""

    columns: tuple[str, ...] = ()
    where: str = "TRUE"


@dataclass(frozen=True, eq=False)
class Lock(Statement):
    """Lock rows by key, in the order of the key, without reading them.

    The lock is its own statement: one that locks and loads at once would, under READ COMMITTED, wait for the lock
    and then answer with what it saw before the wait. FOR NO KEY UPDATE lets foreign-key checks of others pass.
    """


@dataclass(frozen=True, eq=False)
class Insert(Statement):
    """New rows; ``key`` is not needed."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Update(Statement):
    """Set ``columns`` of rows by key; each row gives its key first."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Append(Statement):
    """New rows numbered by a counter that is raised in the same breath: ``number`` continues ``counter``."""

    columns: tuple[str, ...] = ()
    number: str = ""
    counter: str = ""


class Dialect(ABC):
    """Renders the shapes and runs them on a driver's connection."""

    @abstractmethod
    def read(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> list[Rows]:
        """Run selects and locks in order, and return the rows of each."""

    @abstractmethod
    def write(self, connection: Any, requests: Sequence[tuple[Statement, Rows]]) -> None:
        """Run inserts and updates in order, and commit."""
