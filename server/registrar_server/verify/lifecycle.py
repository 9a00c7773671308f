"""Replays the lifecycle of a student or course: which event may follow which, and how each counts for the version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from registrar_server.verify.snapshot import AnyRow
from registrar_server.verify.wording import Field, differences, event_name


class Transition(NamedTuple):
    """What an event of one type does to the stage and the version of its student or course.

    An empty ``after`` means that the stage stays.
    """

    befores: tuple[str, ...] = ("known",)
    after: str = "known"
    versions: int = 1


def resource_transitions(kind: str) -> Mapping[str, Transition]:
    """Return the transitions of every ``STUDENT`` or ``COURSE``, by event type."""
    return {
        f"{kind}_CREATED": Transition(befores=("unknown",)),
        f"{kind}_UPDATED": Transition(),
        f"{kind}_DELETED": Transition(after="deleted"),
        f"{kind}_UNDELETED": Transition(befores=("deleted",)),
    }


class Lifecycle:
    """The stage (unknown, known or deleted) and the version of a student or course after its events."""

    def __init__(self, name: str, transitions: Mapping[str, Transition]) -> None:
        self.name = name
        self.has_events = False
        """Whether any event was applied."""
        self._stage = "unknown"
        self._version = 0
        self._transitions = transitions

    def apply(self, event: AnyRow) -> Iterator[str]:
        """Apply the next event, and report it if it is not possible at this stage."""
        self.has_events = True
        transition = self._transitions.get(event.type)
        if transition is None:
            yield f"{event_name(event)}: nothing of this type happens to {self.name}."
            return
        if self._stage not in transition.befores:
            yield f"{event_name(event)}: {self.name} was {self._stage} before."
            self._stage = transition.befores[0]
        self._stage = transition.after or self._stage
        self._version += transition.versions

    def compare(self, row: AnyRow, *more_fields: Field) -> Iterator[str]:
        """Report where the stored row differs from the result of the events, also in ``more_fields``."""
        if not self.has_events:
            yield f"{self.name} has no events."
            return
        version = ("version", row.version, self._version)
        deleted = ("deleted", row.delete_time is not None, self._stage == "deleted")
        yield from differences(self.name, (version, deleted, *more_fields))
