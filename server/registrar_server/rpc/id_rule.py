"""The rule for ids in words, and the message for a text that breaks it."""

from __future__ import annotations

import json
import re

from registrar_server.core.texts import character_name, is_plain

MAX_ID_LENGTH = 128
ID_RULE = "must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"

_WRONG = re.compile(r"[^A-Za-z0-9._~@+:_-]")
_NAMES = {
    " ": "a blank",
    "/": "a slash",
    "\t": "a tab",
    "\n": "a line break",
    "\u00a0": "a no-break space",
    "\ufeff": "a byte order mark, U+FEFF",
}
_SHOWN = 40
"""The number of characters of an invalid value that a message repeats."""


def id_fault(text: str) -> str:
    """Return the message for ``text``, which is not an id: the rule, and how the text breaks it."""
    if not text:
        return f"is required and {ID_RULE}"
    return f"{ID_RULE}: {shown(text)} {_fault(text)}"


def shown(text: str) -> str:
    """Return a text in quotes, shortened, with all but the visible ASCII characters escaped."""
    return json.dumps(text) if len(text) <= _SHOWN else f'{json.dumps(text[:_SHOWN])[:-1]}..."'


def _fault(text: str) -> str:
    if len(text) > MAX_ID_LENGTH:
        return f"has {len(text)} characters, more than {MAX_ID_LENGTH}"
    wrong = _WRONG.search(text)
    if wrong is None or wrong.start() == 0:
        return f"begins with {_name(text[0])}"
    at_end = not text[wrong.start() :].strip(wrong[0])
    return f"{'ends with' if at_end else 'contains'} {_name(wrong[0])}"


def _name(character: str) -> str:
    usual = f'"{character}"' if is_plain(character) else character_name(character)
    return _NAMES.get(character, usual)
