"""Page sizes and page tokens (AIP-158).

A token is the key of the page's last row together with a digest over RPC, filters and key. It needs no memory of the
server's, so it is valid on every process and after a restart; a token of another list or a changed one is recognised.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

from registrar_server.errors import FieldViolation, Reason, Refusal
from registrar_server.rpc.validation import Fields

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_TOKEN_LENGTH = 512
MAX_PAGE_BYTES = 3 * 1024 * 1024

Row = TypeVar("Row")
Entry = TypeVar("Entry", bound=Message)


class Page:
    """The page that a request asks for: how many rows, and after which key."""

    def __init__(self, fields: Fields, request: Any, max_bytes: int) -> None:
        if request.page_size < 0:
            fields.wrong("page_size", f"must not be negative; 0 means {DEFAULT_PAGE_SIZE}")
        self.size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        self._token = request.page_token
        self._request = request
        self._max_bytes = min(max_bytes, MAX_PAGE_BYTES)

    def after(self, *kinds: type) -> list[Any] | None:
        """Return the key after which the page begins, its parts of these kinds; None for the first page.

        Raises INVALID_PAGE_TOKEN for a token that this list did not make.
        """
        if not self._token:
            return None
        if len(self._token) > MAX_TOKEN_LENGTH:
            raise _invalid_token()
        try:
            _digest, *key = json.loads(base64.urlsafe_b64decode(self._token.encode()))
        except (ValueError, TypeError, binascii.Error):
            raise _invalid_token() from None
        # The whole token is compared, since decoding would forgive characters that do not belong there.
        if self._token != self._token_after(key) or not _is_key(key, kinds):
            raise _invalid_token()
        return list(key)

    def fill(
        self,
        response: Any,
        entries: RepeatedCompositeFieldContainer[Entry],
        rows: Sequence[Row],
        pack: Callable[[Entry, Row], None],
        key: Callable[[Row], Sequence[Any]],
    ) -> None:
        """Fill in a response's entries and its next token; ``rows`` has one more than the page if there are more.

        A page ends early rather than grow beyond what an ordinary client takes in one message.
        """
        for row in rows[: self.size]:
            pack(entries.add(), row)
        # Nearly every page fits, which is measured once for all of it.
        excess = response.ByteSize() - self._max_bytes
        while excess > 0 and len(entries) > 1:
            excess -= entries.pop().ByteSize()
        if len(entries) < len(rows):
            response.next_page_token = self._token_after(key(rows[len(entries) - 1]))

    def _token_after(self, key: Sequence[Any]) -> str:
        token = json.dumps([self._digest(key), *key], separators=(",", ":"))
        return base64.urlsafe_b64encode(token.encode()).decode()

    def _digest(self, key: Sequence[Any]) -> str:
        return blake2b(_scope(self._request) + json.dumps(list(key)).encode(), digest_size=9).hexdigest()


def _is_key(key: Sequence[Any], kinds: Sequence[type]) -> bool:
    """Anybody can compute a digest, so what it covers is checked too."""
    fields = Fields()
    for part in key:
        if isinstance(part, str):
            fields.id("page_token", part)
    fits = all(not isinstance(part, int) or abs(part) < 2**63 for part in key)
    return fits and [type(part) for part in key] == list(kinds) and not fields.any_wrong


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
