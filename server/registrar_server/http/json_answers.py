"""Writes the messages of answers as JSON, large ones in pieces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message

PIECE_S = 0.002
"""How long the work on one piece may keep the event loop."""

_encode = msgspec.json.Encoder().encode


def as_json(message: Message) -> dict[str, Any]:
    """Return a message in JSON's types: with the names of the proto, with zeros, with 64-bit integers as strings."""
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def write(message: Message) -> bytes:
    """Return a message as a line of JSON."""
    return _encode(as_json(message)) + b"\n"


async def write_in_pieces(message: Message) -> AsyncIterator[bytes]:
    """Yield the line of JSON of a message in pieces, and let other work of the event loop go on between them."""
    piece, due = bytearray(), time.perf_counter() + PIECE_S
    for part in _parts(message):
        piece += part
        if time.perf_counter() > due:
            yield bytes(piece)
            await asyncio.sleep(0)
            piece, due = bytearray(), time.perf_counter() + PIECE_S
    yield bytes(piece)


def _parts(message: Message) -> Iterator[bytes]:
    """Yield the entries of a message's lists one by one, then its other fields."""
    lists = [field.name for field in message.DESCRIPTOR.fields if field.is_repeated and field.message_type]
    mark = b"{"
    for name in lists:
        yield mark + _encode(name) + b":["
        for place, entry in enumerate(getattr(message, name)):
            yield (b"," if place else b"") + _encode(as_json(entry))
        yield b"]"
        mark = b","
    others = {name: value for name, value in as_json(_without(message, lists)).items() if name not in lists}
    yield (mark + _encode(others)[1:-1] if others else b"") + b"}\n"


def _without(message: Message, names: Sequence[str]) -> Message:
    """Return a copy of a message without some of its fields."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name not in names:
            if field.message_type:
                getattr(copy, field.name).CopyFrom(value)
            elif field.is_repeated:
                getattr(copy, field.name).extend(value)
            else:
                setattr(copy, field.name, value)
    return copy
