"""The kinds of settable fields: what a record's annotations say, and what they say of students and courses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import pytest

from registrar_server.core.kinds import (
    Choice,
    Count,
    Credits,
    Email,
    Ids,
    Kind,
    Label,
    LongText,
    Meetings,
    Text,
    Time,
    kinds_of,
)
from registrar_server.core.records import SETTABLE, Course, Hold, Student

GENERATED = {"version", "create_time", "update_time", "delete_time"}
COUNTERS = {"enrolled_count", "waitlisted_count", "completed_count", "last_number"}


@dataclass
class Room:
    """A record with fields of each sort."""

    room_id: str
    name: Annotated[str, Text(40)] = ""
    note: Annotated[str, "an annotation that is not a kind"] = ""
    places: Annotated[int | None, "another annotation", Count()] = None
    version: int = 1


class TestKindsOf:
    """The fields of a record that are annotated with a kind."""

    def test_have_a_kind(self) -> None:
        """Other fields and other annotations do not count; the order is that of the declaration."""
        assert list(kinds_of(Room).items()) == [("name", Text(40)), ("places", Count())]

    def test_of_a_record_without_kinds(self) -> None:
        """A record without settable fields has no kinds."""
        assert kinds_of(Hold) == {}

    def test_cannot_be_changed(self) -> None:
        """The mapping is shared, so it is read-only."""
        with pytest.raises(TypeError):
            kinds_of(Room)["name"] = Text(1)  # type: ignore[index]

    def test_kinds_are_values(self) -> None:
        """Kinds of the same type and limit are equal."""
        assert {Text(1), Text(1), Text(2), Count(), Count()} == {Text(1), Text(2), Count()}


class TestSettable:
    """The settable fields of students and courses."""

    @pytest.mark.parametrize(
        ("record", "others"),
        [
            (Student, {"student_id", "holds", *GENERATED}),
            (Course, {"course_id", *COUNTERS, *GENERATED}),
        ],
    )
    def test_are_all_but_ids_counters_and_generated_fields(
        self, record: type[Student] | type[Course], others: set[str]
    ) -> None:
        """Callers set every field except the id, the counters, the holds and what the server generates."""
        assert [field.name for field in fields(record) if field.name not in others] == list(SETTABLE[record])

    @pytest.mark.parametrize("record", SETTABLE)
    def test_kinds_fit_the_types(self, record: type[Student] | type[Course]) -> None:
        """Texts are never absent, and counts and times may be."""
        hints = get_type_hints(record)
        types: dict[type[Kind], Any] = {
            Text: str,
            Label: str,
            LongText: str,
            Email: str,
            Count: int | None,
            Time: int | None,
        }
        for name, kind in SETTABLE[record].items():
            assert hints[name] == types.get(type(kind), hints[name])

    def test_every_kind_is_used(self) -> None:
        """Each kind is the kind of some field."""
        used = {type(kind) for kinds in SETTABLE.values() for kind in kinds.values()}
        assert used == {Text, Label, LongText, Email, Credits, Count, Time, Meetings, Ids, Choice}
