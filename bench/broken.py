"""Bytes that are no message, for every RPC: random ones, and valid messages that were damaged.

They are the same in every run with the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_reflection.v1alpha import reflection_pb2

from registrar.v1 import (
    batch_service_pb2,
    course_service_pb2,
    enrollment_service_pb2,
    history_service_pb2,
    student_service_pb2,
)

MODULES = (
    batch_service_pb2,
    course_service_pb2,
    enrollment_service_pb2,
    history_service_pb2,
    student_service_pb2,
    reflection_pb2,
)
DEPTH = 4
VALUES = {
    FieldDescriptor.CPPTYPE_STRING: "S-1",
    FieldDescriptor.CPPTYPE_BOOL: True,
    FieldDescriptor.CPPTYPE_ENUM: 1,
    FieldDescriptor.CPPTYPE_DOUBLE: 1.5,
    FieldDescriptor.CPPTYPE_FLOAT: 1.5,
}
NUMBER = 300
"""The value of whole numbers, which takes two bytes."""


def rpcs() -> dict[str, type[Message]]:
    """Return the type of the request of every RPC of the server, by its path."""
    found = {
        f"/{service.full_name}/{method.name}": message_factory.GetMessageClass(method.input_type)
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    # The newer version of reflection has the same messages.
    return found | {path.replace(".v1alpha.", ".v1."): kind for path, kind in found.items() if ".v1alpha." in path}


def messages(kind: type[Message], seed: str) -> Iterator[bytes]:
    """Yield bytes without end that cannot be parsed as a message of this type."""
    random = Random(seed)
    valid = filled(kind).SerializeToString()
    while True:
        found = _damaged(valid, random)
        try:
            kind.FromString(found)
        except DecodeError:
            yield found


def filled(kind: type[Message]) -> Message:
    """Return a message of a type with a value in every field."""
    message = kind()
    _fill(message, DEPTH)
    return message


def _fill(message: Any, depth: int) -> None:
    descriptor: Descriptor = message.DESCRIPTOR
    for field in descriptor.fields:
        value = getattr(message, field.name)
        if field.message_type is None:
            _set(message, field)
        elif depth and field.message_type.GetOptions().map_entry:
            value["key"] = "value"
        elif depth:
            _fill(value.add() if field.is_repeated else value, depth - 1)


def _set(message: Any, field: FieldDescriptor) -> None:
    value = b"x" if field.type == FieldDescriptor.TYPE_BYTES else VALUES.get(field.cpp_type, NUMBER)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _damaged(valid: bytes, random: Random) -> bytes:
    place, length = random.randrange(len(valid)), random.randint(1, 20)
    damages = (
        lambda: random.randbytes(random.randint(1, 100)),
        lambda: valid[:place],
        lambda: valid[:place] + random.randbytes(length) + valid[place:],
        lambda: valid[:place] + valid[place + length :],
        lambda: valid[:place] + bytes((valid[place] ^ 1 << random.randrange(8),)) + valid[place + 1 :],
    )
    return random.choice(damages)()
