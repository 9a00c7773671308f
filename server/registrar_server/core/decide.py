"""Decides commands: each command has one decision, which changes the state and returns a result, or refuses.

A decision either refuses before it changes anything, or makes its whole change together with its one event. It knows
neither SQL nor gRPC, and is the same whether its batch holds one command or ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from registrar_server.core import commands, completions, courses, seats, students
from registrar_server.core.commands import Command
from registrar_server.core.state import State

_DECISIONS: Mapping[type[Any], Callable[[State, Any], Any]] = MappingProxyType(
    {
        commands.Enroll: seats.enroll,
        commands.Unenroll: seats.unenroll,
        commands.Swap: seats.swap,
        commands.Complete: completions.complete,
        commands.RecordCompletion: completions.record_completion,
        commands.CompleteById: completions.complete_by_id,
        commands.VoidCompletion: completions.void,
        commands.CreateStudent: students.create,
        commands.UpdateStudent: students.update,
        commands.DeleteStudent: students.delete,
        commands.UndeleteStudent: students.undelete,
        commands.PlaceHold: students.place_hold,
        commands.ReleaseHold: students.release_hold,
        commands.CreateCourse: courses.create,
        commands.UpdateCourse: courses.update,
        commands.Settle: courses.settle,
        commands.DeleteCourse: courses.delete,
        commands.UndeleteCourse: courses.undelete,
    }
)


def decide(state: State, command: Command) -> Any:
    """Carry out ``command`` on ``state`` and return the result, or raise a ``Refusal`` with nothing changed."""
    return _DECISIONS[type(command)](state, command)
