"""Shows the docstrings of dataclass fields and enum members at run time, in ``help()`` and in ``__doc__``.

They are the string literals below the fields and members in the source, which editors read. Python itself drops them.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def documented(kind: type[Kind]) -> type[Kind]:
    """Show the docstrings of the fields of a dataclass with slots, or of the members of an enum."""
    changed: Any = kind
    if issubclass(kind, Enum):
        document_members(changed, in_source(changed))
    else:
        # inspect.getdoc() and help() look for the docstrings of slots here.
        changed.__slots__ = _SlotDocs(changed)
    return kind


def document_members(kind: type[Enum], docs: Mapping[str, str]) -> None:
    """Show these docstrings of the members of an enum."""
    for member in kind:
        member.__doc__ = docs.get(member.name, "")
    # help() shows the class, but of its members only the values.
    kind.__doc__ = "\n".join([kind.__doc__ or "", "", *(f"{member.name}: {member.__doc__}" for member in kind)])


def in_source(kind: type) -> Mapping[str, str]:
    """Return the docstrings below the attributes of a class, none if the source is not installed."""
    return _docs_of_module(kind.__module__).get(kind.__name__, {})


@functools.cache
def _docs_of_module(name: str) -> Mapping[str, Mapping[str, str]]:
    try:
        source = inspect.getsource(sys.modules[name])
    except OSError:
        return {}
    return {each.name: _docs(each) for each in ast.parse(source).body if isinstance(each, ast.ClassDef)}


def _docs(definition: ast.ClassDef) -> Mapping[str, str]:
    pairs = zip(definition.body, definition.body[1:], strict=False)
    return {_name(statement): _text(below) for statement, below in pairs if _name(statement) and _text(below)}


def _name(statement: ast.stmt) -> str:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def _text(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value))
    return ""


class _SlotDocs(dict[str, str]):
    """The docstrings of slots. They are read from the source when they are asked for, so that imports stay fast."""

    def __init__(self, kind: type) -> None:
        super().__init__(dict.fromkeys(kind.__dict__["__slots__"], ""))
        self._kind = kind

    def __getitem__(self, name: str) -> str:
        return in_source(self._kind).get(name, "")
