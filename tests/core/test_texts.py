"""The canonical form of texts, and the characters that they must not contain."""

from __future__ import annotations

from unicodedata import is_normalized

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registrar_server.core import texts
from tests.support.properties import scaled

RLO, ZWNJ, NBSP = "\u202e", "\u200c", "\u00a0"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Ada", "Ada"),
        ("  Ada  Byron ", "Ada Byron"),
        (f"{NBSP}Ada{NBSP}\t\u3000Byron\r\n", "Ada Byron"),
        ("Zoe\u0308", "Zoë"),
        (f"\u0646\u0645\u06cc{ZWNJ}\u062e\u0648", f"\u0646\u0645\u06cc{ZWNJ}\u062e\u0648"),
        (" \t ", ""),
    ],
)
def test_a_line_of_text(text: str, canonical: str) -> None:
    """A line is composed (NFC) and stripped, and each run of white space in it is one blank."""
    assert texts.line(text) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("one\n\ttwo  words", "one\n\ttwo  words"),
        ("\n one\r\ntwo\rthree\u2028four \n", "one\ntwo\nthree\nfour"),
        ("Zoe\u0308\n", "Zoë"),
        (" \n", ""),
    ],
)
def test_longer_text(text: str, canonical: str) -> None:
    """Longer text is composed and stripped, and keeps its line breaks and tabs."""
    assert texts.long_text(text) == canonical


def test_blank_text() -> None:
    """Text of white space and invisible characters alone is blank."""
    assert texts.is_blank("")
    assert texts.is_blank(f" {NBSP}\n{ZWNJ}\ufeff")
    assert not texts.is_blank(f"{ZWNJ}.")


def test_a_word() -> None:
    """A word is composed and stripped; white space inside stays, so that it can be refused."""
    assert texts.word(f"{NBSP}zoe\u0308 @example.edu\n") == "zoë @example.edu"
    assert texts.space("a\u2003b") == "\u2003"
    assert texts.space("ab") == ""


@pytest.mark.parametrize(
    "character", ["\0", "\x07", "\x1b", "\x1f", "\x7f", "\u009b", RLO, "\u2066", "\u200f", "\u061c"]
)
def test_control_characters(character: str) -> None:
    """Control characters and those that change the direction of text are found, in lines and in longer text."""
    assert texts.control(texts.line(f"a{character}b")) == character
    assert texts.control(texts.long_text(f"é{character}b")) == character


@pytest.mark.parametrize(
    "character", ["\u200b", ZWNJ, "\u200d", "\ufeff", "\u00ad", "\u2060", "\ufe0f", "\u3164", "\u034f"]
)
def test_invisible_characters(character: str) -> None:
    """Characters without a width are found, and are not control characters."""
    assert texts.invisible(f"a{character}b") == character
    assert texts.control(f"a{character}b") == ""


@pytest.mark.parametrize("text", ["", "CS 101", "Łódź", "日本語", "a\u0301", "🏫"])
def test_visible_text(text: str) -> None:
    """Letters, marks and symbols of any script are allowed everywhere."""
    assert texts.control(text) == texts.invisible(text) == ""


def test_characters_are_named() -> None:
    """A character has its code point, and its name if it has one."""
    assert texts.character_name(RLO) == "U+202E (RIGHT-TO-LEFT OVERRIDE)"
    assert texts.character_name("\0") == "U+0000"


@given(st.text())
@settings(max_examples=scaled(100))
def test_canonical_text_is_its_own_canonical_form(text: str) -> None:
    """A canonical text is not changed again, is in NFC, and does not begin or end with white space."""
    for form in (texts.line, texts.long_text, texts.word):
        canonical = form(text)
        assert form(canonical) == canonical
        assert is_normalized("NFC", canonical)
