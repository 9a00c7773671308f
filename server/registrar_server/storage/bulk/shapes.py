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

from sqlalchemy import Column, Table

from registrar_server.storage.models import Base

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
    """Rows by key; documents come as their JSON text.

    ``join`` names a second table, whose row goes with the first by the columns in ``using``; ``computed`` are
    expressions that come behind the columns.
    """

    columns: tuple[str, ...] = ()
    where: str = "TRUE"
    join: str = ""
    using: str = ""
    computed: tuple[str, ...] = ()

    def column(self, name: str) -> Column[Any]:
        """The definition of a column; where both tables have one of that name, the first table's."""
        tables = [self.model, *([Base.metadata.tables[self.join]] if self.join else [])]
        return next(table.c[name] for table in tables if name in table.c)


@dataclass(frozen=True, eq=False)
class Heads(Statement):
    """The first rows of groups: of each group named, as many as ``limit`` says, in the order of ``order``.

    ``groups`` is the table whose rows are the groups, identified by ``key``. A key comes with a number, which ``limit``
    may speak of as ``given.number``, next to the columns of the group.
    """

    groups: str
    columns: tuple[str, ...]
    where: str
    order: str
    limit: str


@dataclass(frozen=True, eq=False)
class Lock(Statement):
    """Lock rows by key, in the order of the key, without reading them.

    The lock is its own statement: one that locks and loads at once would, under READ COMMITTED, wait for the lock
    and then answer with what it saw before the wait. FOR NO KEY UPDATE lets foreign-key checks of others pass.

    With ``heads`` the rows that those name are locked too, all in one order: each row of parameters is then the key of
    a row, the key of a group, and the group's number; of the two keys one is empty.
    """

    heads: Heads | None = None


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
