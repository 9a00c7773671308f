"""What `help()` and `__doc__` show of the client."""

from __future__ import annotations

import dataclasses
import inspect
import pydoc
import subprocess
import sys
from enum import Enum
from typing import Any

import pytest

import registrar_client
from registrar_client import AsyncRegistrarClient, CourseFull, ErrorReason, EventType, RegistrarClient, Student

EXPORTED = [getattr(registrar_client, name) for name in registrar_client.__all__]
CLASSES = [each for each in EXPORTED if isinstance(each, type)]
DATACLASSES = [each for each in CLASSES if dataclasses.is_dataclass(each)]
ENUMS = [each for each in CLASSES if issubclass(each, Enum) and each is not registrar_client.Unset]


def shown(thing: Any) -> str:
    """Return what `help()` prints."""
    return pydoc.plain(pydoc.render_doc(thing))


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_every_dataclass_field_has_its_docstring_at_run_time(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        docstring = inspect.getdoc(getattr(kind, field.name))
        assert docstring, field.name
        assert docstring.splitlines()[0] in shown(kind)


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)
def test_every_enum_member_has_its_docstring_at_run_time(kind: Any) -> None:
    for member in kind:
        assert member.__doc__, member
        assert member.__doc__ != kind.__doc__
        assert f"{member.name}: {member.__doc__.splitlines()[0]}" in shown(kind)


def test_docstrings_are_those_of_the_source() -> None:
    assert inspect.getdoc(vars(Student)["email"]) == "The e-mail address. It need not be unique."
    assert EventType.HOLD_PLACED.__doc__ == "A hold on a student was placed or replaced."
    assert (EventType.__doc__ or "").startswith("The kind of change that an event records.\n")


def test_a_reason_has_the_docstring_of_its_exception() -> None:
    assert ErrorReason.COURSE_FULL.__doc__ == CourseFull.__doc__


@pytest.mark.parametrize("client", [RegistrarClient, AsyncRegistrarClient])
def test_help_shows_students_courses_and_history(client: Any) -> None:
    text = shown(client)
    for group, calls in (("students", "students"), ("courses", "courses"), ("history", "events")):
        assert f"The calls for {calls}, such as" in text
        assert inspect.getdoc(getattr(client, group))
        assert "Raises:" in shown(getattr(client(), group))


def test_docstrings_need_no_source() -> None:
    """An installation can leave the source out. It then has no docstrings of fields, and works."""
    script = """
import inspect
inspect.getsource = lambda _kind: (_ for _ in ()).throw(OSError("no source"))
from registrar_client import EventType, Student
print(repr(EventType.HOLD_PLACED.__doc__), repr(inspect.getdoc(Student.email)), Student(student_id="s-1").student_id)
"""
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert output == "'' '' s-1\n"
