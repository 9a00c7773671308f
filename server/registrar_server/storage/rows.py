"""Records to rows and back, by the names of columns.

A record's field and its column have the same name. The field's annotation says how the column stores it: enums as their
names, tuples as JSON documents, everything else as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import MappingProxyType, NoneType
from typing import Any, Generic, NamedTuple, Self, TypeVar, get_args, get_origin, get_type_hints

from registrar_server.storage.documents import DECODERS, EMPTY, encode

Record = TypeVar("Record")
Row = Sequence[Any]


def field_names(record: type[Any]) -> tuple[str, ...]:
    """Return the names of a record type's fields."""
    if is_dataclass(record):
        return tuple(field.name for field in fields(record))
    names: tuple[str, ...] = record._fields  # The other records are named tuples.
    return names


def row_reader(record: type[Record], columns: Sequence[str]) -> Callable[[Row], Record]:
    """Return a function that makes a record of a row with these columns, in any order.

    Fields without a column keep their defaults. Raises TypeError for a column without a field.
    """
    if unknown := set(columns) - set(field_names(record)):
        raise TypeError(f"{record.__name__} has no fields {', '.join(sorted(unknown))}")
    hints = get_type_hints(record)
    names: dict[str, Any] = {"record": record}
    arguments: list[str] = []
    for position, name in enumerate(field_names(record)):
        if name in columns:
            value = _Codec.of(hints[name]).reading(f"row[{columns.index(name)}]", name, names)
            # Arguments by position are faster, and possible as long as no field was left out.
            arguments.append(value if position == len(arguments) else f"{name}={value}")
    read: Callable[[Row], Record] = _compile(f"lambda row: record({', '.join(arguments)})", names)
    return read


def row_writer(record: type[Any], columns: Sequence[str]) -> Callable[[Any], Row]:
    """Return a function that makes a row with these columns of a record; a column may also be a property."""
    names: dict[str, Any] = {}
    values = (_Codec.of(_hint(record, column)).writing(f"record.{column}", column, names) for column in columns)
    write: Callable[[Any], Row] = _compile(f"lambda record: ({', '.join(values)},)", names)
    return write


def _hint(record: type[Any], name: str) -> Any:
    """Return the annotation of a record's field or property."""
    found = getattr(record, name, None)
    return get_type_hints(found.fget)["return"] if isinstance(found, property) else get_type_hints(record)[name]


def _compile(expression: str, names: dict[str, Any]) -> Any:
    """Return the function that an expression describes, made of column names and of the values in ``names``.

    One expression per row is twice as fast as a loop over its columns, and every batch reads and writes many rows.
    """
    return eval(expression, names)


class _Names(dict[Any, Any]):
    """Members by their stored names, or the reverse; an unknown name stays as it is.

    A newer version may have added a member. Its records can then be read, and only using the member fails.
    """

    def __missing__(self, key: Any) -> Any:
        return key


class _Codec(NamedTuple):
    """How a column stores a value: templates of the expressions that read and write it, and the names they use."""

    read: str = "{value}"
    write: str = "{value}"
    names: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def of(cls, hint: Any) -> Self:
        """Return how the values of a field with this annotation are stored."""
        if get_origin(hint) is tuple:
            decode = DECODERS[get_args(hint)[0]]
            return cls(
                f"() if {{value}} == {EMPTY!r} else decode_{{column}}({{value}})",
                f"encode_{{column}}({{value}}) if {{value}} else {EMPTY!r}",
                {"decode": decode, "encode": encode},
            )
        (kind,) = set(get_args(hint) or (hint,)) - {NoneType}
        if kind is bool:
            # SQLite returns 0 and 1.
            return cls("None if {value} is None else {value} != 0")
        if issubclass(kind, StrEnum):
            members = _Names({member.value: member for member in kind})
            # Drivers take plain strings faster than members of an enum.
            stored = _Names({member: member.value for member in kind})
            if NoneType in get_args(hint):
                members[""], stored[None] = None, ""
            return cls("members_{column}[{value}]", "stored_{column}[{value}]", {"members": members, "stored": stored})
        return cls()

    def reading(self, value: str, column: str, names: dict[str, Any]) -> str:
        """Return the expression that reads a stored value, and add the names that it uses to ``names``."""
        names.update((f"{name}_{column}", used) for name, used in self.names.items())
        return self.read.format(value=value, column=column)

    def writing(self, value: str, column: str, names: dict[str, Any]) -> str:
        """Return the expression that writes a value, and add the names that it uses to ``names``."""
        names.update((f"{name}_{column}", used) for name, used in self.names.items())
        return self.write.format(value=value, column=column)


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
