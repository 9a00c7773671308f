"""Texts through the client and a real server, on both databases: canonical forms, keys, searches, ids and decimals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from registrar_client import (
    ErrorReason,
    EventType,
    HoldNotFound,
    InvalidField,
    Meeting,
    Override,
    RegistrarClient,
    RequestIdReused,
    testing,
)
from registrar_server import verify
from registrar_server.storage.database import Database
from tests.support.databases import execute

NBSP, RLO, ZWNJ, ZWSP = "\u00a0", "\u202e", "\u200c", "\u200b"
PERSIAN = f"\u0645\u06cc{ZWNJ}\u062e\u0648\u0627\u0647\u0645"
REQUEST_ID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"


@pytest.fixture
def client(database_url: str) -> Iterator[RegistrarClient]:
    """A client of a real server; afterwards, the database is consistent."""
    with testing.server(database_url=database_url) as address, RegistrarClient(address) as client:
        yield client
    database = Database(database_url)
    with verify.open_snapshot(database.autocommit) as connection:
        assert list(verify.disagreements(connection)) == []
    database.close()


def refused_fields(call: Callable[[], object]) -> dict[str, str]:
    """Return the description of each field that the server refuses."""
    with pytest.raises(InvalidField) as refused:
        call()
    return {violation.field: violation.description for violation in refused.value.field_violations}


def rename_hold(url: str, code: str, stored: str) -> None:
    """Change the code of the last hold that was placed, in its row and its event, to one that is refused today."""
    (found,) = execute(
        url,
        "SELECT CAST(holds AS TEXT) AS holds, CAST(changes AS TEXT) AS changes FROM students, events"
        " WHERE revision = (SELECT max(revision) FROM events)",
    )
    before, after = f'"{code}"', f'"{stored}"'
    execute(url, "UPDATE students SET holds = :holds, keys_version = NULL", holds=found.holds.replace(before, after))
    execute(
        url,
        "UPDATE events SET changes = :changes WHERE revision = (SELECT max(revision) FROM events)",
        changes=found.changes.replace(before, after),
    )


class TestCanonicalForm:
    """What is newly written gets one canonical form."""

    def test_one_line_texts_are_composed_stripped_and_have_single_blanks(self, client: RegistrarClient) -> None:
        """Names, titles, codes, terms, components and locations: NFC, runs of white space are one blank, stripped."""
        student = client.students.create(given_name=f" Zoe\u0308{NBSP} Ann\t", family_name=f"Sa\u2003\nMi{NBSP}")
        assert (student.given_name, student.family_name) == ("Zoë Ann", "Sa Mi")
        course = client.courses.create(
            code=f"CS{NBSP}101 ",
            title=f" Cafe\u0301\n in  Paris{NBSP}",
            term="2018 \t fall",
            component=" LEC ",
            meetings=[Meeting(location=f" Hall{NBSP}{NBSP}1")],
        )
        assert (course.code, course.title, course.term) == ("CS 101", "Café in Paris", "2018 fall")
        assert (course.component, course.meetings[0].location) == ("LEC", "Hall 1")
        assert client.courses.get(course_id=course.course_id) == course

    def test_reasons_and_grades_are_lines_of_text(self, client: RegistrarClient) -> None:
        """Codes and reasons of holds, reasons of drops and of overrides, and grades of up to 64 characters."""
        client.students.create(student_id="s-1")
        client.courses.create(course_id="c-1")
        held = client.students.place_hold(student_id="s-1", code=" Library  fee", reason=f"late\n{NBSP}book ")
        assert [(hold.code, hold.reason) for hold in held.holds] == [("Library fee", "late book")]
        override = Override(rules=[ErrorReason.STUDENT_HOLD], reason=" by\tthe dean ")
        client.enroll(student_id="s-1", course_id="c-1", override=override)
        dropped = client.unenroll(student_id="s-1", course_id="c-1", reason=" moved  away ").enrollment
        assert dropped is not None
        assert dropped.reason == "moved away"
        grade = "x" * 64
        assert client.record_completion(student_id="s-1", course_id="c-1", grade=f" {grade} ").grade == grade
        reasons = [event.reason for event in client.history.list(student_id="s-1") if event.reason]
        assert reasons == ["late book", "by the dean", "moved away"]

    def test_longer_texts_keep_line_breaks_and_tabs(self, client: RegistrarClient) -> None:
        """Descriptions and comments are composed and stripped, and their line breaks are line feeds."""
        course = client.courses.create(course_id="c-1", description="\n Cafe\u0301:\r\n\tone  two\u2028three \n")
        assert course.description == "Café:\n\tone  two\nthree"
        client.students.create(student_id="s-1")
        client.enroll(student_id="s-1", course_id="c-1", comment="first\r\nsecond ")
        (event,) = [one for one in client.history.list(course_id="c-1") if one.type is EventType.STUDENT_ENROLLED]
        assert event.comment == "first\nsecond"

    def test_control_and_bidi_characters_are_refused_by_name(self, client: RegistrarClient) -> None:
        """In every text, a control character or one that changes its direction is refused with its code point."""
        fields = refused_fields(
            lambda: client.courses.create(
                code=f"CS{RLO}101", title="a\x07b", term="\0", component="\u2066", description="a\x0bb"
            )
        )
        assert fields == {
            "course.code": "must not contain U+202E (RIGHT-TO-LEFT OVERRIDE)",
            "course.title": "must not contain U+0007",
            "course.term": "must not contain U+0000",
            "course.component": "must not contain U+2066 (LEFT-TO-RIGHT ISOLATE)",
            "course.description": "must not contain U+000B",
        }

    def test_zero_width_characters_are_refused_in_codes_and_allowed_in_names(self, client: RegistrarClient) -> None:
        """Codes, terms, components, codes of holds and e-mail addresses consist of visible characters."""
        fields = refused_fields(
            lambda: client.courses.create(code=f"CS{ZWSP}101", term=f"fall{ZWNJ}", component="\ufeffLEC")
        )
        assert fields == {
            "course.code": "must not contain U+200B (ZERO WIDTH SPACE)",
            "course.term": "must not contain U+200C (ZERO WIDTH NON-JOINER)",
            "course.component": "must not contain U+FEFF (ZERO WIDTH NO-BREAK SPACE)",
        }
        zero_width = "must not contain U+200B (ZERO WIDTH SPACE)"
        assert refused_fields(lambda: client.students.create(email=f"a{ZWSP}@x.edu")) == {"student.email": zero_width}
        fields = refused_fields(lambda: client.students.place_hold(student_id="s-1", code=f"FEE{ZWSP}"))
        assert fields == {"code": zero_width}
        assert client.students.create(given_name=PERSIAN).given_name == PERSIAN
        assert client.courses.create(title=PERSIAN, description=PERSIAN).title == PERSIAN

    def test_an_email_address_is_stripped_and_has_no_white_space(self, client: RegistrarClient) -> None:
        """White space around an address is removed, and white space in it is refused."""
        assert client.students.create(email=f" ada@example.edu{NBSP}\n").email == "ada@example.edu"
        fields = refused_fields(lambda: client.students.create(email=f"ada{NBSP}b@example.edu"))
        assert fields == {"student.email": "must not contain U+00A0 (NO-BREAK SPACE)"}

    def test_a_required_text_must_not_be_blank(self, client: RegistrarClient) -> None:
        """White space and invisible characters alone are no code of a hold and no reason of an override."""
        assert refused_fields(lambda: client.students.place_hold(student_id="s", code=f" {NBSP}")) == {
            "code": "must not be blank"
        }
        override = Override(rules=[ErrorReason.STUDENT_HOLD], reason=f" \n{ZWNJ}")
        assert refused_fields(lambda: client.enroll(student_id="s", course_id="c", override=override)) == {
            "override.reason": "must not be blank"
        }

    def test_lengths_are_those_of_the_canonical_form(self, client: RegistrarClient) -> None:
        """White space that is removed and marks that are composed do not count."""
        assert client.courses.create(code="  " + "e\u0301" * 64 + "  ").code == "é" * 64
        assert refused_fields(lambda: client.courses.create(code="é" * 65)) == {
            "course.code": "must have at most 64 characters, has 65"
        }

    def test_an_update_that_only_changes_the_form_changes_nothing(self, client: RegistrarClient) -> None:
        """The canonical form is compared, so such an update writes no event and keeps the etag."""
        course = client.courses.create(course_id="c-1", title="Café", code="CS 101")
        updated = client.courses.update(course_id="c-1", title=" Cafe\u0301 ", code=f"CS{NBSP}101")
        assert updated.course == course

    def test_request_ids_belong_to_the_message_as_it_was_sent(self, client: RegistrarClient) -> None:
        """The same text in another form is another request."""
        first = client.courses.create(title=" Sets", request_id=REQUEST_ID)
        assert client.courses.create(title=" Sets", request_id=REQUEST_ID) == first
        with pytest.raises(RequestIdReused):
            client.courses.create(title="Sets", request_id=REQUEST_ID)


class TestKeys:
    """Codes, terms, components and codes of holds match by their keys, stored and given alike."""

    @pytest.mark.parametrize("code", ["CS 101", "cs101", f" Cs{NBSP}1 01", "\uff23\uff33\uff11\uff10\uff11"])
    @pytest.mark.parametrize("term", ["2018 Fall", " 2018  FALL", "\uff12018 fall"])
    def test_courses_are_found_by_the_keys_of_code_and_term(
        self, client: RegistrarClient, code: str, term: str
    ) -> None:
        """Case, width and blanks do not matter for a code; case, width and runs of blanks not for a term."""
        client.courses.create(course_id="c-1", code="Cs 101", term="2018 fall")
        client.courses.create(course_id="c-2", code="CS 102", term="2018 fall")
        client.courses.create(course_id="c-3", code="CS 101", term="2019 fall")
        assert [course.course_id for course in client.courses.search(code=code, term=term)] == ["c-1"]

    def test_a_blank_filter_is_no_filter(self, client: RegistrarClient) -> None:
        """A filter of white space alone finds every course, as an empty one does."""
        client.courses.create(course_id="c-1", code="CS 101", term="2018")
        assert [course.course_id for course in client.courses.search(code=" ", term=NBSP, query=" ")] == ["c-1"]

    def test_the_length_of_a_filter_is_that_of_its_canonical_form(self, client: RegistrarClient) -> None:
        """A course is found by the text with which it was created."""
        code, term = f" {'C' * 64}{NBSP}", "  " + "e\u0301" * 64
        client.courses.create(course_id="c-1", code=code, term=term)
        assert [course.course_id for course in client.courses.search(code=code, term=term)] == ["c-1"]
        fields = refused_fields(lambda: next(client.courses.search(code=f"{code}C").pages()))
        assert fields == {"code": "must have at most 64 characters, has 66"}

    def test_holds_are_replaced_and_released_by_the_key_of_their_code(self, client: RegistrarClient) -> None:
        """A student has at most one hold of each key; the hold shows the code as it was placed last."""
        client.students.create(student_id="s-1")
        client.students.place_hold(student_id="s-1", code="Bursar")
        student = client.students.place_hold(student_id="s-1", code="BURSAR", reason="fee")
        assert [(hold.code, hold.reason) for hold in student.holds] == [("BURSAR", "fee")]
        with pytest.raises(HoldNotFound):
            client.students.release_hold(student_id="s-1", code="bur sar")
        assert client.students.release_hold(student_id="s-1", code=" bursar").holds == ()

    @pytest.mark.parametrize("code", [" ", NBSP, ZWSP])
    def test_a_hold_with_a_blank_code_can_be_released(
        self, client: RegistrarClient, database_url: str, code: str
    ) -> None:
        """Versions that did not refuse blank codes may have stored one, and the hold still refuses enrolling."""
        client.students.create(student_id="s-1")
        client.students.place_hold(student_id="s-1", code="Bursar")
        client.students.place_hold(student_id="s-1", code="OLD", reason="fee")
        rename_hold(database_url, "OLD", code)
        (left,) = client.students.release_hold(student_id="s-1", code=code).holds
        assert left.code == "Bursar"
        with pytest.raises(HoldNotFound):
            client.students.release_hold(student_id="s-1", code=code)

    def test_the_code_of_a_hold_to_release_is_required(self, client: RegistrarClient) -> None:
        """An empty code names no hold."""
        assert refused_fields(lambda: client.students.release_hold(student_id="s", code="")) == {"code": "is required"}

    def test_keys_follow_an_update(self, client: RegistrarClient) -> None:
        """A course is found by its present code and term."""
        client.courses.create(course_id="c-1", code="CS 101", term="2018")
        client.courses.update(course_id="c-1", code="Math 7", term=None)
        assert list(client.courses.search(code="cs101")) == list(client.courses.search(term="2018")) == []
        assert [course.course_id for course in client.courses.search(code="MATH7", query="math 7")] == ["c-1"]


class TestSearch:
    """Searching ignores case, accents and blanks in codes, and finds ids."""

    @pytest.mark.parametrize(
        "query", ["cs101", "CS 101", "etudes", "ÉTUDES", "E\u0301tudes", "lodz", "x-7", "tudes cs"]
    )
    def test_courses(self, client: RegistrarClient, query: str) -> None:
        """Each word occurs in the id, the code or the title."""
        client.courses.create(course_id="X-7", code="CS 101", title="Études in Łódź")
        client.courses.create(course_id="Y-8", code="CS 102", title="Sets")
        assert [course.course_id for course in client.courses.search(query=query)] == ["X-7"]

    @pytest.mark.parametrize("query", ["zoe", "ZOË", "nandu", "s-17", "S-17 zoë", "zoe@example"])
    def test_students(self, client: RegistrarClient, query: str) -> None:
        """Each word occurs in the id, a name or the e-mail address."""
        client.students.create(student_id="S-17", given_name="Zoë", family_name="Ñandú", email="Zoe@Example.edu")
        client.students.create(student_id="S-18", given_name="Ada")
        assert [student.student_id for student in client.students.list(query=query)] == ["S-17"]

    def test_pages_of_a_search_by_keys(self, client: RegistrarClient) -> None:
        """A page token belongs to the filters as they were sent."""
        for number in range(5):
            client.courses.create(course_id=f"c-{number}", code="CS 101")
        found = client.courses.search(code=f" cs{NBSP}101", page_size=2)
        assert [course.course_id for course in found] == [f"c-{number}" for number in range(5)]


class TestIds:
    """An invalid id is shown, with what is wrong with it."""

    @pytest.mark.parametrize("student_id", ["_s", "course-v1:MITx+6.00x+2T2026", "a:b", "a+b", "s" * 128])
    def test_ids_of_other_systems(self, client: RegistrarClient, student_id: str) -> None:
        """Ids may contain ``+`` and ``:`` and may begin with ``_``; they are found and paged as others are."""
        client.students.create(student_id=student_id)
        client.students.create(student_id="zzz")
        assert client.students.get(student_id=student_id).student_id == student_id
        assert {one.student_id for one in client.students.list(page_size=1)} == {student_id, "zzz"}

    @pytest.mark.parametrize(
        ("student_id", "fault"),
        [
            ("s-1 ", '"s-1 " ends with a blank'),
            (" s-1", '" s-1" begins with a blank'),
            ("\ufeffs-1", r'"\ufeffs-1" begins with a byte order mark, U+FEFF'),
            ("a/b", '"a/b" contains a slash'),
            ("a\u200bb", r'"a\u200bb" contains U+200B (ZERO WIDTH SPACE)'),
            ("s" * 129, f'"{"s" * 40}..." has 129 characters, more than 128'),
        ],
    )
    def test_an_error_shows_the_id_and_what_is_wrong_with_it(
        self, client: RegistrarClient, student_id: str, fault: str
    ) -> None:
        """The value is escaped and shortened, and the message names the character."""
        fields = refused_fields(lambda: client.students.get(student_id=student_id))
        assert fields == {"student_id": f"must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{{0,127}}: {fault}"}


class TestDecimals:
    """The number of decimals that a value needs counts, not the number that it is written with."""

    @pytest.mark.parametrize("credits", ["3.0000", Decimal("3.000000"), 3, "3", Decimal("0.3e1"), "3." + "0" * 60])
    def test_more_zeros_do_not_matter(self, client: RegistrarClient, credits: Decimal | int | str) -> None:
        """A Decimal, an int or a str of the value 3 is 3."""
        assert client.courses.create(credits=credits).credits == 3
        assert client.students.create(max_credits=credits).max_credits == 3

    def test_negative_zero(self, client: RegistrarClient) -> None:
        """A zero that a subtraction left with a sign is 0."""
        assert client.courses.create(credits=Decimal("-0.0")).credits == 0

    @pytest.mark.parametrize("credits", ["0.0001", Decimal("3.0001"), "1e1", "x", -1, 1001])
    def test_only_a_value_that_needs_more_decimals_is_refused(
        self, client: RegistrarClient, credits: Decimal | int | str
    ) -> None:
        """A value that needs more than 3 decimals is refused, and so is one out of range or not a plain decimal."""
        fields = refused_fields(lambda: client.courses.create(credits=credits))
        assert fields == {"course.credits": "must be a decimal from 0 to 1000 with up to 3 decimals, such as 3 or 1.5"}
