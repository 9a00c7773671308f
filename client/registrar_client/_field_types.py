"""Resolves the annotations of the dataclasses, which decide how fields are converted."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints


class FieldType(NamedTuple):
    """The type of a dataclass field."""

    annotation: Any
    """The annotation without ``| None``."""
    optional: bool
    """Whether the field may be ``None``."""


@functools.cache
def field_types(kind: type) -> Mapping[str, FieldType]:
    """Return the types of a dataclass's fields by name, in the order of the fields."""
    return {name: _field_type(annotation) for name, annotation in get_type_hints(kind).items()}


def _field_type(annotation: Any) -> FieldType:
    if get_origin(annotation) is not UnionType:
        return FieldType(annotation, optional=False)
    (present,) = (each for each in get_args(annotation) if each is not NoneType)
    return FieldType(present, optional=True)


def is_enum(annotation: Any) -> bool:
    """Return whether an annotation is an enum of the client."""
    return isinstance(annotation, type) and issubclass(annotation, StrEnum)
