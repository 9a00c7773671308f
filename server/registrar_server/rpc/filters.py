"""Reads the filters that several lists have: members of enums and times."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from registrar_server.rpc.validation import Fields

Member = TypeVar("Member", bound=StrEnum)


def members(
    fields: Fields, path: str, numbers: MutableSequence[Any], table: Mapping[Member, int]
) -> tuple[Member, ...]:
    """Return the members that a filter names, in the order of the enum.

    The request gets them in this order too, so that a page token fits the same members in any order.
    """
    given = fields.few(path, numbers)
    known = set(table.values())
    for place, number in enumerate(given):
        if number not in known:
            fields.wrong(f"{path}[{place}]", f"must be one of {', '.join(table)}")
    found = tuple(member for member, number in table.items() if number in given)
    numbers[:] = [table[member] for member in found]
    return found


def member(fields: Fields, path: str, number: int, table: Mapping[Member, int]) -> Member | None:
    """Return the member that a filter names, or None for a filter that is not set."""
    found = next((member for member, known in table.items() if known == number), None)
    if number and found is None:
        fields.wrong(path, f"must be one of {', '.join(table)}")
    return found


def time_after(fields: Fields, request: Message, name: str) -> int | None:
    """Return the last microsecond at or before a time, or None for a filter that is not set.

    Later rows have a later microsecond.
    """
    return fields.time(name, getattr(request, name)) if request.HasField(name) else None


def time_from(fields: Fields, request: Message, name: str) -> int | None:
    """Return the first microsecond at or after a time, or None for a filter that is not set."""
    if not request.HasField(name):
        return None
    value: Timestamp = getattr(request, name)
    return fields.time(name, value) + (value.nanos % 1000 > 0)
