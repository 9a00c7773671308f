"""The canonical form of texts that callers write, and the characters that texts must not contain.

Canonical text is in Unicode's form NFC and stripped. In a line of text, each run of white space is one blank. In longer
text line breaks and tabs stay.
"""

from __future__ import annotations

import re
from unicodedata import category, name, normalize

_SPACES = (
    "\t\n\x0b\x0c\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_SPACE = re.compile(f"[{_SPACES}]+")
_LINE_BREAK = re.compile("\r\n|[\r\u0085\u2028\u2029]")
# Control characters, and those that change the direction of the text around them, so that it reads as another text.
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\u0084\u0086-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Characters without a width that Unicode does not count among the format characters: fillers and variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def is_plain(text: str) -> bool:
    """Return whether a text consists of visible ASCII characters and blanks, which most texts do."""
    return text.isascii() and text.isprintable()


def line(text: str) -> str:
    """Return the canonical form of a line of text."""
    if is_plain(text) and "  " not in text:
        return text.strip()
    return _SPACE.sub(" ", normalize("NFC", text)).strip(" ")


def word(text: str) -> str:
    """Return the canonical form of a text that should have no white space."""
    return normalize("NFC", text).strip(_SPACES)


def long_text(text: str) -> str:
    """Return the canonical form of text with several lines, each line ending with a line feed."""
    if is_plain(text):
        return text.strip()
    return _LINE_BREAK.sub("\n", normalize("NFC", text)).strip(_SPACES)


def control(text: str) -> str:
    """Return the first control or bidi-control character of a canonical text; empty if it has none."""
    found = None if is_plain(text) else _CONTROL.search(text)
    return found[0] if found else ""


def invisible(text: str) -> str:
    """Return the first character of a text that has no width; empty if all are visible."""
    if is_plain(text):
        return ""
    return next((found for found in text if category(found) == "Cf" or _INVISIBLE.match(found)), "")


def is_blank(text: str) -> bool:
    """Return whether a text shows nothing: it is empty, or has white space and invisible characters alone."""
    return all(_SPACE.match(found) or invisible(found) for found in text)


def space(text: str) -> str:
    """Return the first white space of a text; empty if it has none."""
    found = _SPACE.search(text)
    return found[0][0] if found else ""


def character_name(character: str) -> str:
    """Return the code point of a character and its name, such as ``U+202E (RIGHT-TO-LEFT OVERRIDE)``."""
    known = name(character, "")
    return f"U+{ord(character):04X} ({known})" if known else f"U+{ord(character):04X}"
