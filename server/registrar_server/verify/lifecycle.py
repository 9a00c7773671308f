"""Students and courses from their creation on: which event may follow on which, and how often they changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from registrar_server.verify.snapshot import AnyRow
from registrar_server.verify.wording import Field, differing, event_name


class Moment(NamedTuple):
    """What an event of one type does to the student or course it happens to."""

    before: str = "known"
    after: str = "known"
    versions: int = 1


def moments(kind: str) -> Mapping[str, Moment]:
    """Return the moments in the life of a ``STUDENT`` or ``COURSE``, by the type of their event."""
    return {
        f"{kind}_CREATED": Moment(before="unknown"),
        f"{kind}_UPDATED": Moment(),
        f"{kind}_DELETED": Moment(after="deleted"),
        f"{kind}_UNDELETED": Moment(before="deleted"),
    }


class Life:
    """A student or a course as its events leave it: unknown, known or deleted, and of which version."""

    def __init__(self, name: str, possible: Mapping[str, Moment]) -> None:
        self.name = name
        self.has_events = False
        """Whether anything is told of it."""
        self._stage = "unknown"
        self._version = 0
        self._possible = possible

    def take(self, event: AnyRow) -> Iterator[str]:
        """Go on by one event, and tell where it cannot have happened."""
        self.has_events = True
        moment = self._possible.get(event.type)
        if moment is None:
            yield f"{event_name(event)}: nothing of this type happens to {self.name}."
            return
        if self._stage != moment.before:
            yield f"{event_name(event)}: {self.name} was {self._stage} before."
        self._stage = moment.after
        self._version += moment.versions

    def compare(self, row: AnyRow, *others: Field) -> Iterator[str]:
        """Tell where the row of the student or course, these other fields of it too, is not what the events made."""
        if not self.has_events:
            yield f"{self.name} has no events."
            return
        version = ("version", row.version, self._version)
        deleted = ("deleted", row.delete_time is not None, self._stage == "deleted")
        yield from differing(self.name, (version, deleted, *others))
