"""Records to rows and back, by the names of columns.

A record's field and its column have the same name. The field's annotation says how the column stores it: enums as their
names, tuples as JSON documents, everything else as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from registrar_server.storage.documents import DECODERS, encode

Record = TypeVar("Record")
Row = Sequence[Any]


class _Codec(NamedTuple):
    """How a value is read from its column, and how it is written there."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def field_names(record: type[Any]) -> tuple[str, ...]:
    """Return the names of a record type's fields."""
    if is_dataclass(record):
        return tuple(field.name for field in fields(record))
    names: tuple[str, ...] = record._fields  # The other records are named tuples.
    return names


def row_reader(record: type[Record], columns: Sequence[str]) -> Callable[[Row], Record]:
    """Return a function that makes a record of a row with these columns, in any order.

    Fields without a column keep their defaults; they must be the last of the record.
    """
    names = [name for name in field_names(record) if name in columns]
    if len(names) != len(columns) or names != list(field_names(record)[: len(names)]):
        raise TypeError(f"{record.__name__} cannot be read from the columns {', '.join(columns)}")
    codecs = _codecs(record, names)
    in_order = None if names == list(columns) else itemgetter(*(columns.index(name) for name in names))

    def read(row: Row) -> Record:
        values = list(row if in_order is None else in_order(row))
        for place, codec in codecs:
            values[place] = codec.read(values[place])
        return record(*values)

    return read


def row_writer(record: type[Any], columns: Sequence[str]) -> Callable[[Any], Row]:
    """Return a function that makes a row with these columns of a record."""
    take = attrgetter(*columns)
    codecs = _codecs(record, columns)

    def write(value: Any) -> Row:
        row = list(take(value))
        for place, codec in codecs:
            row[place] = codec.write(row[place])
        return row

    return write


def _codecs(record: type[Any], columns: Sequence[str]) -> list[tuple[int, _Codec]]:
    hints = get_type_hints(record)
    found = ((place, _codec(hints[column])) for place, column in enumerate(columns))
    return [(place, codec) for place, codec in found if codec is not None]


def _codec(hint: Any) -> _Codec | None:
    if get_origin(hint) is tuple:
        return _Codec(DECODERS[get_args(hint)[0]], encode)
    kinds = set(get_args(hint) or (hint,)) - {NoneType}
    kind = kinds.pop()
    if issubclass(kind, StrEnum):
        return _enum_codec(kind, optional=NoneType in get_args(hint))
    return _Codec(_read_bool, _unchanged) if kind is bool else None


def _enum_codec(kind: type[StrEnum], *, optional: bool) -> _Codec:
    members: dict[str, StrEnum | None] = {member.value: member for member in kind}
    # Drivers take plain strings faster than members of an enum.
    names: dict[str | None, str] = {member: member.value for member in kind}
    if optional:
        members[""], names[None] = None, ""
    return _Codec(members.__getitem__, names.__getitem__)


def _read_bool(value: Any) -> bool | None:
    # SQLite returns 0 and 1.
    return None if value is None else bool(value)


def _unchanged(value: Any) -> Any:
    return value


class Selection(Generic[Record]):
    """The columns of a record as one part of a query's columns, and the reader of their values."""

    def __init__(self, record: type[Record], names: Sequence[str] | None = None) -> None:
        self.names = tuple(names or field_names(record))
        self.read = row_reader(record, self.names)


def read_side_by_side(*selections: Selection[Any]) -> Callable[[Row], list[Any]]:
    """Return a function that reads one record per selection from a row with the columns of all of them."""
    parts = []
    start = 0
    for selection in selections:
        parts.append((slice(start, start + len(selection.names)), selection.read))
        start += len(selection.names)
    return lambda row: [read(row[part]) for part, read in parts]
