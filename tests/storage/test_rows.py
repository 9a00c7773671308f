"""Records to rows and back, by the names of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registrar_server.core.records import (
    Commitment,
    Course,
    Enrollment,
    EnrollmentKey,
    Event,
    Hold,
    Passed,
    Student,
    Subject,
)
from registrar_server.core.schedule import Meeting
from registrar_server.core.vocabulary import CourseState, EnrollmentState
from registrar_server.errors import Violation
from registrar_server.storage.rows import Selection, field_names, read_side_by_side, row_reader, row_writer
from registrar_server.storage.statements import StoredResponse, Uncounted

RECORDS = (Student, Course, Enrollment, Event, EnrollmentKey, Commitment, Passed, Subject, StoredResponse, Uncounted)
STORABLE = (str, int, bool, bytes, type(None))


@dataclass
class Sample:
    """A record with a field for each way to store a value."""

    sample_id: str
    state: CourseState
    previous_state: EnrollmentState | None
    passed: bool | None
    meetings: tuple[Meeting, ...]
    rules: tuple[str, ...] = ()


class Pair(NamedTuple):
    """A record that is a named tuple."""

    key: str
    value: int = 7


FULL = Sample(
    "s", CourseState.CANCELLED, EnrollmentState.ENROLLED, True, (Meeting((1,), 0, 60, "", "", "Aula"),), ("A", "B")
)
FULL_ROW = ("s", "CANCELLED", "ENROLLED", True, '[[[1],0,60,"","","Aula"]]', '["A","B"]')
EMPTY = Sample("s", CourseState.OPEN, None, None, ())
EMPTY_ROW = ("s", "OPEN", "", None, "[]", "[]")


def any_record(record: type[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for records of a type, with any value in each field."""
    violation = st.builds(Violation, values=st.dictionaries(st.text(), st.text(), max_size=2))
    violations = st.lists(violation, max_size=2).map(tuple)
    hints = get_type_hints(record)
    return st.builds(
        record, **{name: violations if hints[name] == tuple[Violation, ...] else ... for name in field_names(record)}
    )


class TestInverse:
    """The writer and the reader for the same columns are each other's inverse."""

    @pytest.mark.parametrize("record", RECORDS)
    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_any_record_in_any_order_of_columns(self, record: type[Any], data: st.DataObject) -> None:
        """A record that is written and read again is the same, and its row has only values that drivers store."""
        columns = data.draw(st.permutations(field_names(record)))
        written = data.draw(any_record(record))
        row = row_writer(record, columns)(written)
        assert {type(value) for value in row} <= {*STORABLE}
        assert row_reader(record, columns)(row) == written

    @pytest.mark.parametrize(("record", "row"), [(FULL, FULL_ROW), (EMPTY, EMPTY_ROW)], ids=["full", "empty"])
    def test_examples(self, record: Sample, row: tuple[Any, ...]) -> None:
        """Enums are stored as their names, an absent enum as an empty text, and tuples as documents."""
        columns = field_names(Sample)
        assert row_writer(Sample, columns)(record) == row
        assert row_reader(Sample, columns)(row) == record


class TestReader:
    """A reader makes a record of a row."""

    @pytest.mark.parametrize(("stored", "passed"), [(0, False), (1, True), (False, False), (True, True), (None, None)])
    def test_booleans_of_either_database(self, stored: bool | int | None, passed: bool | None) -> None:
        """SQLite returns booleans as 0 and 1, and PostgreSQL as booleans."""
        row = ("s", "OPEN", "", stored, "[]", "[]")
        assert row_reader(Sample, field_names(Sample))(row).passed is passed

    def test_members_of_enums(self) -> None:
        """A state is read as the member of its enum, not as a text."""
        found = row_reader(Sample, field_names(Sample))(FULL_ROW)
        assert (found.state, found.previous_state) == (CourseState.CANCELLED, EnrollmentState.ENROLLED)
        assert (type(found.state), type(found.previous_state)) == (CourseState, EnrollmentState)

    def test_an_unknown_member(self) -> None:
        """A name that a newer version added to the enum is read, and written again, as a text."""
        columns = field_names(Sample)
        row = ("s", "PLANNED", "SUSPENDED", None, "[]", "[]")
        found = row_reader(Sample, columns)(row)
        assert (found.state, found.previous_state) == ("PLANNED", "SUSPENDED")
        assert row_writer(Sample, columns)(found) == row

    def test_fields_without_a_column(self) -> None:
        """Fields without a column keep their defaults."""
        assert row_reader(Sample, ("meetings", *field_names(Sample)[:4]))(("[]", "s", "OPEN", "", None)) == EMPTY
        assert row_reader(Pair, ("key",))(("a",)) == Pair("a", 7)
        assert row_reader(Student, ("version", "student_id"))((3, "s")) == Student("s", version=3)

    def test_columns_that_the_record_lacks(self) -> None:
        """A column without a field of the same name is an error."""
        with pytest.raises(TypeError, match="Pair has no fields colour, size"):
            row_reader(Pair, ("key", "size", "colour"))


class TestWriter:
    """A writer makes a row of a record."""

    def test_some_columns(self) -> None:
        """The row has the columns asked for, in their order."""
        assert row_writer(Sample, ("rules", "sample_id"))(FULL) == ('["A","B"]', "s")

    def test_one_column(self) -> None:
        """A row of one column is still a row."""
        assert row_writer(Pair, ("value",))(Pair("a")) == (7,)

    def test_an_enum_is_written_as_a_plain_text(self) -> None:
        """Drivers get strings, not members of an enum."""
        assert {type(value) for value in row_writer(Sample, ("state", "previous_state"))(FULL)} == {str}


class TestSelection:
    """Several records are read from one row side by side."""

    def test_reads_each_from_its_own_columns(self) -> None:
        """Columns may have the same names in several selections."""
        pairs, values = Selection(Pair), Selection(Pair, ("value", "key"))
        assert (pairs.names, values.names) == (("key", "value"), ("value", "key"))
        assert read_side_by_side(pairs, values)(("a", 1, 2, "b")) == [Pair("a", 1), Pair("b", 2)]

    def test_all_fields_by_default(self) -> None:
        """A selection without names has every field of the record."""
        assert Selection(Hold).names == ("code", "reason", "place_time")
