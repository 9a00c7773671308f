"""The keys by which texts are compared, and the texts that searches look in.

Two texts match if their keys are equal. The rows keep the texts as they were written; the keys follow from them.
"""

from __future__ import annotations

from functools import lru_cache
from unicodedata import category, combining, normalize

from registrar_server.core.texts import is_plain

MAX_SORTED = 100
"""The number of characters of names by which they are sorted."""

_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "\N{LATIN SMALL LETTER DOTLESS I}": "i"})
"""Letters whose stroke or missing dot looks like an accent, but that Unicode does not decompose."""

_FIRST_ACCENT = 10
"""Marks of a lower combining class belong to their letter, such as the voicing marks of Japanese."""


@lru_cache(maxsize=8192)
def text_key(text: str) -> str:
    """Return the key of a term, a component or a hold's code: NFKC and case folded.

    Runs of white space count as one blank, and characters without a width do not count.
    """
    return " ".join(_folded(text).split())


@lru_cache(maxsize=8192)
def code_key(text: str) -> str:
    """Return the key of a course's code, which is its ``text_key`` without blanks."""
    return normalize("NFC", text_key(text).replace(" ", ""))


def search_text(*parts: str, code: str = "") -> str:
    """Return the text that searches look in: the parts, with and without accents, and the key of a code."""
    plain = " ".join(filter(None, parts)).casefold()
    bare = _without_accents(plain)
    texts = (code_key(code), plain, bare if bare != plain else "")
    return " ".join(filter(None, texts))


def search_words(query: str) -> list[str]:
    """Return the words of a query as ``search_text`` writes them."""
    return _without_accents(query).split()


def sort_name(family_name: str, given_name: str) -> str:
    """Return the text by which names are sorted: without case and accents, and not longer than a page token may be."""
    # No name has two blanks in a row, and they sort before all that may continue a short family name.
    return "  ".join(" ".join(_without_accents(name).split()) for name in (family_name, given_name))[:MAX_SORTED]


def _folded(text: str) -> str:
    """Fold case as Unicode's compatibility caseless match does, and remove characters without a width."""
    if is_plain(text):
        return text.lower()
    folded = normalize("NFKC", normalize("NFD", text).casefold())
    return normalize("NFKC", _visible(folded).casefold())


def _without_accents(text: str) -> str:
    if is_plain(text):
        return text.lower()
    decomposed = normalize("NFKD", _folded(text))
    bare = "".join(mark for mark in decomposed if combining(mark) < _FIRST_ACCENT)
    return normalize("NFKC", bare).translate(_LETTERS)


def _visible(text: str) -> str:
    return "".join(character for character in text if category(character) != "Cf")
