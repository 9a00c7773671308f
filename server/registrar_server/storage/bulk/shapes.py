"""Set-based statements: many rows, one statement, the same few shapes on both databases.

A shape describes a statement by its table and columns. A dialect renders it once, as text that never changes, and turns
rows into the parameters of that text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Table

from registrar_server.storage.models import Base

Found = TypeVar("Found")
Rows = Sequence[Sequence[Any]]


def id_rows(ids: Iterable[str]) -> Rows:
    """Return the parameters of a query by one id: a row for each id."""
    return [(one,) for one in ids]


@dataclass(frozen=True, eq=False)
class Statement:
    """The common part of all shapes: a table, and the columns that identify its rows.

    Each statement is made once, and is equal only to itself.
    """

    table: str
    key: tuple[str, ...]

    @cached_property
    def model(self) -> Table:
        """The table's definition."""
        return Base.metadata.tables[self.table]


@dataclass(frozen=True, eq=False)
class Query(Statement, Generic[Found]):
    """A statement that returns rows; ``read`` turns a row into the value that callers get."""

    read: Callable[[Sequence[Any]], Found] = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Select(Query[Found]):
    """Select rows by key, with documents as their JSON text.

    ``join`` names a second table, joined by the columns in ``using``. ``computed`` holds expressions, by column
    name.
    """

    columns: tuple[str, ...] = ()
    where: str = "TRUE"
    join: str = ""
    using: str = ""
    computed: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> Column[Any]:
        """Return the definition of a column; if both tables have a column of that name, the first table's."""
        tables = [self.model, *([Base.metadata.tables[self.join]] if self.join else [])]
        return next(table.c[name] for table in tables if name in table.c)


@dataclass(frozen=True, eq=False)
class Heads(Query[Found]):
    """Select the first rows of each group: at most ``limit`` rows, in the order of ``order``.

    ``groups`` is the table whose rows are the groups, identified by ``key``. Each key comes with the numbers that
    ``given`` names, which ``limit`` may use as ``given.number`` and so on, next to the columns of the group.
    """

    groups: str
    columns: tuple[str, ...]
    where: str
    order: str
    limit: str
    given: tuple[str, ...] = ("number",)


@dataclass(frozen=True, eq=False)
class Lock(Select[Found]):
    """Lock rows by key, in the order of the key, and return them as the last transaction that had the lock left them.

    A row that was added while the statement waited is neither locked nor returned. FOR NO KEY UPDATE does not block
    foreign-key checks. The row itself is current after the wait, but under READ COMMITTED nothing else that the same
    statement reads is: what depends on the lock needs a later statement.

    With ``heads``, the rows that the heads refer to are locked too, all in one order. Each row of parameters then has
    the key of a row, the key of a group, and the group's numbers; one of the two keys is empty. SQLite returns only the
    rows that are named by their keys, since it needs no locks.
    """

    heads: Heads[Any] | None = None


@dataclass(frozen=True, eq=False)
class Insert(Statement):
    """Insert rows; ``key`` is not needed."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Update(Statement):
    """Set ``columns`` of rows by key. Each row of parameters has the key first."""

    columns: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Append(Statement):
    """Insert rows numbered by a counter: ``number`` continues the counter's value, which the same statement raises.

    The commit announces the rows on ``channel``, if the database can do that.
    """

    columns: tuple[str, ...] = ()
    number: str = ""
    counter: str = ""
    channel: str = ""


class Dialect(ABC):
    """Renders the shapes and runs them on a driver's connection."""

    @abstractmethod
    def read(self, connection: Any, requests: Sequence[tuple[Query[Any], Rows]]) -> list[Rows]:
        """Run selects and locks in order, and return the rows of each."""

    @abstractmethod
    def write(
        self,
        connection: Any,
        requests: Sequence[tuple[Statement, Rows]],
        reads: Sequence[tuple[Query[Any], Rows]] = (),
    ) -> list[Rows]:
        """Run inserts and updates in order, then selects, and commit; return the rows of each select."""
