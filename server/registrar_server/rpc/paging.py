"""Page sizes and page tokens (AIP-158).

A token contains the key of the page's last row and a digest over RPC, filters and key. The server stores nothing, so a
token is valid on every process and after a restart. The digest detects tokens of other lists and modified tokens.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

from registrar_server.errors import FieldViolation, Reason, Refusal
from registrar_server.rpc.validation import Fields

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_TOKEN_LENGTH = 2048
MAX_PAGE_BYTES = 3 * 1024 * 1024

_UNSTORABLE = re.compile("[\\0\ud800-\udfff]")
"""The characters that no text in the database has."""

Record = TypeVar("Record")
Entry = TypeVar("Entry", bound=Message)


class SortName(str):
    """The type of a part of a key that is the text by which names are sorted. Other texts are ids."""


class Page:
    """The page that a request asks for: the number of rows, and the key that they follow."""

    def __init__(self, fields: Fields, request: Any) -> None:
        if request.page_size < 0:
            fields.wrong("page_size", f"must not be negative; 0 means {DEFAULT_PAGE_SIZE}")
        self.size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        self._token = request.page_token
        self._request = request
        self._fields = fields

    def after(self, *types: type) -> list[Any] | None:
        """Return the key of the row before the page, with parts of these types; None for the first page.

        Raises INVALID_FIELD for the invalid fields of the request, and INVALID_PAGE_TOKEN for a token that does not
        come from this list.
        """
        self._fields.check()
        if not self._token:
            return None
        if len(self._token) > MAX_TOKEN_LENGTH:
            raise _invalid_token()
        try:
            _digest, *key = json.loads(base64.urlsafe_b64decode(self._token.encode()))
        except (ValueError, TypeError, RecursionError):
            raise _invalid_token() from None
        # Compare the whole token, because decoding ignores invalid characters.
        if self._token != self._token_after(key) or not _is_key(key, types):
            raise _invalid_token()
        return list(key)

    def fill(
        self,
        response: Any,
        entries: RepeatedCompositeFieldContainer[Entry],
        rows: Sequence[Record],
        pack: Callable[[Entry, Record], None],
        key: Callable[[Record], Sequence[Any]],
        max_bytes: int,
    ) -> None:
        """Fill in a response's entries and next page token; ``rows`` has one row more than the page if more follow.

        A page ends early if it would exceed the message size that clients accept by default.
        """
        for row in rows[: self.size]:
            pack(entries.add(), row)
        # Nearly every page fits, so measure the whole page once.
        excess = response.ByteSize() - min(max_bytes, MAX_PAGE_BYTES)
        while excess > 0 and len(entries) > 1:
            excess -= entries.pop().ByteSize()
        if len(entries) < len(rows):
            response.next_page_token = self._token_after(key(rows[len(entries) - 1]))

    def _token_after(self, key: Sequence[Any]) -> str:
        token = json.dumps([self._digest(key), *key], separators=(",", ":"))
        return base64.urlsafe_b64encode(token.encode()).decode()

    def _digest(self, key: Sequence[Any]) -> str:
        return blake2b(_scope(self._request) + json.dumps(list(key)).encode(), digest_size=9).hexdigest()


def _is_key(key: Sequence[Any], types: Sequence[type]) -> bool:
    """Check the parts of a key, because anyone can compute the digest."""
    return len(key) == len(types) and all(map(_is_part, key, types))


def _is_part(part: Any, kind: type) -> bool:
    if kind is int:
        return type(part) is int and abs(part) < 2**63
    if not isinstance(part, str):
        return False
    if kind is SortName:
        return not _UNSTORABLE.search(part)
    fields = Fields()
    fields.id("page_token", part)
    return not fields.any_wrong


def _scope(request: Message) -> bytes:
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    return request.DESCRIPTOR.full_name.encode() + b"\0" + filters.SerializeToString(deterministic=True)


def _invalid_token() -> Refusal:
    expected = "must be a next_page_token of the same list with the same filters"
    return Refusal(
        Reason.INVALID_PAGE_TOKEN,
        f"page_token {expected}.",
        fields=[FieldViolation("page_token", expected)],
    )
