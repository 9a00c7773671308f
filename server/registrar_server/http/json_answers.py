"""Writes the messages of answers as JSON, large ones in pieces.

The JSON is that of ``json_format`` with the names of the proto and with zeros, in the order of the proto.
``json_format`` looks every field up again in each message, which would be most of the time of an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

PIECE_S = 0.002
"""How long the work on one piece may keep the event loop."""
PIECE_BYTES = 32_768
"""A piece has hardly more bytes, since it may also be compressed."""

_AS_IT_IS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_INT32)

Convert = Callable[[Any], Any]

_encode = msgspec.json.Encoder().encode


def write(message: Message) -> bytes:
    """Return a message as a line of JSON."""
    return _encode(_converter(message.DESCRIPTOR)(message)) + b"\n"


async def write_in_pieces(message: Message) -> AsyncIterator[bytes]:
    """Yield the line of JSON of a message in pieces, and let other work of the event loop go on between them."""
    piece, due = bytearray(), time.perf_counter() + PIECE_S
    for part in _parts(message):
        piece += part
        if len(piece) >= PIECE_BYTES or time.perf_counter() > due:
            yield bytes(piece)
            await asyncio.sleep(0)
            piece, due = bytearray(), time.perf_counter() + PIECE_S
    yield bytes(piece)


def _parts(message: Message) -> Iterator[bytes]:
    """Yield the fields of a message one by one, and the entries of its lists."""
    mark = b"{"
    for name, has_presence, is_list, convert in _fields(message.DESCRIPTOR):
        if has_presence and not message.HasField(name):
            continue
        yield mark + _encode(name) + b":"
        value, mark = getattr(message, name), b","
        if is_list:
            yield b"["
            for place, entry in enumerate(value):
                yield (b"," if place else b"") + _encode(convert(entry) if convert else entry)
            yield b"]"
        else:
            yield _encode(convert(value) if convert else value)
    yield b"{}\n" if mark == b"{" else b"}\n"


@cache
def _converter(kind: Descriptor) -> Convert:
    """Return the function that makes JSON's types of a message."""
    if kind.full_name in _OWN_FORMS:
        return _OWN_FORMS[kind.full_name]
    if kind.full_name.startswith("google.protobuf."):
        raise RuntimeError(f"{kind.full_name} is a message that answers in JSON do not support")
    fields = _fields(kind)

    def as_json(message: Message) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, has_presence, is_list, convert in fields:
            if not has_presence or message.HasField(name):
                value = getattr(message, name)
                if is_list:
                    value = [convert(entry) for entry in value] if convert else list(value)
                elif convert:
                    value = convert(value)
                found[name] = value
        return found

    return as_json


@cache
def _fields(kind: Descriptor) -> tuple[tuple[str, bool, bool, Convert | None], ...]:
    """Return of each field its name, whether it may be unset, whether it is a list, and what makes JSON of a value."""
    return tuple((field.name, field.has_presence, *_form(field)) for field in kind.fields)


def _form(field: FieldDescriptor) -> tuple[bool, Convert | None]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        if _value(field.message_type.fields_by_name["value"]):
            raise RuntimeError(f"{field.full_name} is a map that answers in JSON do not support")
        return False, lambda entries: {str(key): entry for key, entry in entries.items()}
    return field.is_repeated, _value(field)


def _value(field: FieldDescriptor) -> Convert | None:
    """Return what makes JSON of one value of a field; None if the value is JSON as it is."""
    if field.message_type:
        return _converter(field.message_type)
    if field.enum_type:
        names = {number: member.name for number, member in field.enum_type.values_by_number.items()}
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_INT64:
        return str
    if field.type in _AS_IT_IS:
        return None
    raise RuntimeError(f"{field.full_name} has a type that answers in JSON do not support")


@lru_cache(maxsize=8192)
def _time_text(seconds: int, nanos: int) -> str:
    return Timestamp(seconds=seconds, nanos=nanos).ToJsonString()


def _any(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


_OWN_FORMS: Mapping[str, Convert] = {
    AnyMessage.DESCRIPTOR.full_name: _any,
    Timestamp.DESCRIPTOR.full_name: lambda time: _time_text(time.seconds, time.nanos),
}
"""The messages that JSON does not write as objects of their fields."""
