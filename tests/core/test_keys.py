"""The keys by which texts are compared, and the texts that searches look in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registrar_server.core import texts
from registrar_server.core.keys import code_key, search_text, search_words, text_key
from registrar_server.verify import stored_keys
from tests.support.properties import scaled

WIDE = "\uff23\uff33\uff11\uff10\uff11"  # CS101 in full width.


@pytest.mark.parametrize("code", ["CS 101", "cs101", " Cs\u00a01 01", WIDE, "c\u200bs101"])
def test_codes_match_without_case_width_and_blanks(code: str) -> None:
    """Codes match if they differ in case, in width, in blanks or in invisible characters alone."""
    assert code_key(code) == "cs101"


@pytest.mark.parametrize("code", ["CS 102", "CS-101", "ÇS 101"])
def test_other_codes_do_not_match(code: str) -> None:
    """Punctuation and accents distinguish codes."""
    assert code_key(code) != "cs101"


@pytest.mark.parametrize("term", ["2018 Fall", "2018  FALL ", "2018\u00a0fall", "\uff12018 fall"])
def test_terms_match_without_case_and_width(term: str) -> None:
    """Terms, components and codes of holds match if they differ in case, in width or in the amount of blanks alone."""
    assert text_key(term) == "2018 fall"
    assert text_key("2018fall") != "2018 fall"


@pytest.mark.parametrize(
    ("one", "other"), [("Straße", "STRASSE"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("ﬁn", "FIN"), ("É", "e\u0301")]
)
def test_case_is_folded_in_all_scripts(one: str, other: str) -> None:
    """Case folding knows letters that have several lower-case forms."""
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    "query",
    ["etudes", "ÉTUDES", "cs101", "CS 101", "cs  étu", "c-7", "C-7", "lodz", "ŁÓDŹ", "E\u0301tudes", WIDE, "", "  "],
)
def test_searches_ignore_case_accents_and_blanks_in_codes(query: str) -> None:
    """All words of these queries occur in the search text of one course, whose id is found too."""
    found = search_text("C-7", "CS 101", "Études in Łódź", code="CS 101")
    assert all(word in found for word in search_words(query))


@given(st.text(), st.text())
@settings(max_examples=scaled(200))
def test_keys_do_not_depend_on_the_canonical_form(text: str, other: str) -> None:
    """A key is its own key, and a text has the key of its canonical form: stored and given texts match alike."""
    for key in (text_key, code_key):
        assert key(key(text)) == key(text)
        assert key(texts.line(text)) == key(text)
    assert all(word in search_text(other, text) for word in search_words(text))


@given(st.text())
@settings(max_examples=scaled(200))
def test_verify_has_the_same_keys(text: str) -> None:
    """The check of the stored keys, which has its own code, comes to the same keys."""
    assert stored_keys.text_key(text) == text_key(text)
