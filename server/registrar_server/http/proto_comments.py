"""The comments of the protos, as Markdown, from the descriptors that the build writes beside the stubs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

_FIRST_SENTENCE = re.compile(r"(.+?)\.(?:\s|$)", re.DOTALL)
_LINK = re.compile(r"\[([\w.]+)\]\[[\w.]*\]")
"""A link to another part of the protos, such as ``[google.rpc.Code][google.rpc.Code]``."""

Path = tuple[int, ...]
"""The place of a declaration in its file: numbers of fields of ``FileDescriptorProto``, and positions in them."""


@cache
def comments() -> Mapping[str, str]:
    """Return the comment of each commented declaration, by its full name.

    The full name of an enum's value includes that of the enum: ``registrar.v1.CourseState.COURSE_STATE_OPEN``.
    """
    data = resources.files("registrar.v1").joinpath("descriptors.binpb").read_bytes()
    return MappingProxyType(
        {name: text for file in FileDescriptorSet.FromString(data).file for name, text in _comments_of(file)}
    )


def summary(comment: str) -> str:
    """Return the first sentence of a comment, in one line and without its full stop."""
    found = _FIRST_SENTENCE.match(comment)
    return " ".join((found[1] if found else comment).split())


def _comments_of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names = dict(_names(file))
    for location in file.source_code_info.location:
        name = names.get(tuple(location.path))
        if name and location.leading_comments:
            yield name, _markdown(location.leading_comments)


def _markdown(comment: str) -> str:
    lines = (line.removeprefix(" ").rstrip() for line in comment.splitlines())
    return _LINK.sub(r"`\1`", "\n".join(lines).strip())


def _names(file: FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    yield from _messages((4,), file.package, file.message_type)
    yield from _enums((5,), file.package, file.enum_type)
    yield from _services((6,), file.package, file.service)


def _messages(path: Path, scope: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[Path, str]]:
    for place, message in enumerate(messages):
        here, name = (*path, place), f"{scope}.{message.name}"
        yield here, name
        yield from (((*here, 2, number), f"{name}.{field.name}") for number, field in enumerate(message.field))
        yield from _messages((*here, 3), name, message.nested_type)
        yield from _enums((*here, 4), name, message.enum_type)


def _enums(path: Path, scope: str, enums: Iterable[EnumDescriptorProto]) -> Iterator[tuple[Path, str]]:
    for place, enum in enumerate(enums):
        here, name = (*path, place), f"{scope}.{enum.name}"
        yield here, name
        yield from (((*here, 2, number), f"{name}.{value.name}") for number, value in enumerate(enum.value))


def _services(path: Path, scope: str, services: Iterable[ServiceDescriptorProto]) -> Iterator[tuple[Path, str]]:
    for place, service in enumerate(services):
        here, name = (*path, place), f"{scope}.{service.name}"
        yield here, name
        yield from (((*here, 2, number), f"{name}.{rpc.name}") for number, rpc in enumerate(service.method))
