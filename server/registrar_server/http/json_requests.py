"""Makes the request of a method from the parts of an HTTP request: path, query, headers and body."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from registrar_server.errors import Reason, Refusal
from registrar_server.http.json_values import (
    Faults,
    canonical_list,
    canonical_object,
    canonical_value,
    fields_of,
    is_leaf,
    named,
    shown_value,
    unknown,
)
from registrar_server.http.routes import Match, Route
from registrar_server.rpc.batch_requests import Batch
from registrar_server.rpc.id_rule import shown

IF_MATCH = "if-match"
IF_NONE_MATCH = "if-none-match"
IDEMPOTENCY_KEY = "idempotency-key"
MAX_PARTS = 50_000
"""A body has fewer values and escaped characters. No single call needs more, and parsing JSON keeps all threads
waiting."""
MAX_PARTS_OF_BATCH = 200_000
"""The same for a batch: 1,000 new courses, each with several meetings, have more than 50,000."""
MAX_NUMBER_LENGTH = 40
"""Longer integers are truncated to this length, which no field allows either: a text of digits is slow to convert."""


def read_request(match: Match, query: bytes, headers: Mapping[str, str], body: bytes) -> Message:
    """Return the request of the method.

    Raises INVALID_FIELD that names every value that does not fit, every unknown field, and every field that is given
    differently in two places.
    """
    given, route = Faults(), match.route
    request = _Request(route, given)
    request.read_body(body)
    for path, value in match.fields.items():
        request.put(path, value)
    request.read_query(query)
    request.read_headers(headers)
    given.check()
    return request.message()


class _Request:
    """A request on its way from JSON and texts to a message; ``tree`` has the names of the proto."""

    def __init__(self, route: Route, given: Faults) -> None:
        self._route = route
        self._given = given
        self._kind: Descriptor = route.method.request.DESCRIPTOR  # type: ignore[assignment]  # Its stub is a union.
        self.tree: dict[str, Any] = {}

    def read_body(self, body: bytes) -> None:
        if not body:
            return
        if not self._route.body:
            self._given.wrong("body", f"must be empty: a {self._route.verb} of this path has no body")
            return
        try:
            value = parse_json(body, max_parts(self._route))
        except ValueError as error:
            self._given.wrong("body", str(error))
            return
        if self._route.body == "*":
            self.tree = canonical_object(self._kind, value, "", self._given)
        else:
            field = fields_of(self._kind)[self._route.body]
            self.tree[field.name] = canonical_value(field, value, field.name, self._given)

    def read_query(self, query: bytes) -> None:
        if not query:
            return
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            self._given.wrong("query", "must be UTF-8, percent-encoded")
            return
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            values.setdefault(name, []).append(value)
        names: dict[str, str] = {}
        for name, texts in values.items():
            if found := self._find(name):
                field, path = found
                if (other := names.setdefault(path, name)) != name:
                    self._given.wrong(path, f"is given twice, as {other} and as {name}")
                else:
                    self._read_parameter(field, path, texts)

    def _read_parameter(self, field: FieldDescriptor, path: str, texts: list[str]) -> None:
        if not is_leaf(field):
            self._given.wrong(path, f"has fields of its own: name one of them, with {path}. before it")
        elif field.is_repeated:
            self.put(path, canonical_list(field, [_typed(field, text) for text in texts], path, self._given))
        elif len(texts) > 1:
            self._given.wrong(path, f"is given {len(texts)} times")
        else:
            self.put(path, canonical_value(field, _typed(field, texts[0]), path, self._given))

    def _find(self, name: str) -> tuple[FieldDescriptor, str] | None:
        """Return the field of a parameter such as ``filter.course_id``, and its path in the names of the proto."""
        kind: Descriptor | None = self._kind
        path: list[str] = []
        field = None
        for part in name.split("."):
            field = fields_of(kind).get(part) if kind is not None else None
            if field is None:
                lack = unknown(kind, part) if kind is not None else f"is no field: {path[-1]} has none"
                self._given.wrong(named(name), lack)
                return None
            path.append(field.name)
            kind = None if is_leaf(field) or field.is_repeated else field.message_type
        if field is None or self._route.body in ("*", path[0]):
            self._given.wrong(named(name), "must be in the body, not in the query")
            return None
        return field, ".".join(path)

    def read_headers(self, headers: Mapping[str, str]) -> None:
        if (key := headers.get(IDEMPOTENCY_KEY)) is not None:
            self._put_header("Idempotency-Key", "request_id", self._uuid(key))
        if (etag := headers.get(IF_MATCH)) is not None:
            self._put_header("If-Match", etag_path(self._route), self._etag(etag))
        if IF_NONE_MATCH in headers and self._route.verb != "GET":
            self._given.wrong("If-None-Match", "is not supported; a change takes If-Match")

    def _put_header(self, header: str, path: str, value: str) -> None:
        if path.partition(".")[0] not in self._kind.fields_by_name:
            self._given.wrong(header, f"does not apply to {self._route.method.name}")
        elif value:
            self.put(path, value)

    def _uuid(self, key: str) -> str:
        """Return the UUID of an Idempotency-Key, which may be in quotes."""
        key = key.strip()
        quoted = len(key) > 1 and key[0] == key[-1] == '"'
        if not (uuid := key[1:-1] if quoted else key):
            self._given.wrong("Idempotency-Key", "must be a UUID")
        return uuid

    def _etag(self, etag: str) -> str:
        """Return the etag of an If-Match; empty for ``*``, which any version matches."""
        etag = etag.strip()
        if etag == "*":
            return ""
        if len(etag) < 3 or not (etag[0] == etag[-1] == '"') or '"' in etag[1:-1]:
            expected = "must be one etag in quotes, as the ETag header has it, or *"
            self._given.wrong("If-Match", f"{expected}, not {shown(etag)}")
        return etag[1:-1]

    def put(self, path: str, value: Any) -> None:
        """Set a field that no other part of the request has set differently. An empty text is the same as none."""
        *parents, name = path.split(".")
        inner = self.tree
        for parent in parents:
            inner[parent] = inner = inner.get(parent) or {}
        known = inner.get(name)
        if known in (None, ""):
            inner[name] = value
        elif known != value:
            self._given.wrong(path, f"is given twice, as {shown_value(known)} and as {shown_value(value)}")

    def message(self) -> Message:
        """Return the message. Many requests have only texts, which need no conversion."""
        kind = self._route.method.request
        if self.tree.keys() <= _texts(self._kind):
            return kind(**self.tree)
        try:
            return json_format.ParseDict(self.tree, kind())
        except json_format.ParseError as error:
            raise Refusal(Reason.INVALID_FIELD, f"The request cannot be read: {error}") from None


@cache
def _texts(kind: Descriptor) -> frozenset[str]:
    """Return the names of the fields that have one text and exclude no other field."""
    texts = (field for field in kind.fields if field.type == FieldDescriptor.TYPE_STRING)
    return frozenset(field.name for field in texts if not field.is_repeated and not field.containing_oneof)


def max_parts(route: Route) -> int:
    """Return the number of values and escaped characters that a body of the route must not reach."""
    return MAX_PARTS_OF_BATCH if isinstance(route.method, Batch) else MAX_PARTS


def parse_json(body: bytes, limit: int) -> Any:
    """Return the value of a body. Raises ValueError that says what the body must be."""
    if body.count(b",") + body.count(b"\\") >= limit:
        raise ValueError(f"must have fewer than {limit} values and escaped characters")
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_int=_parse_integer
        )
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = "it begins with a byte order mark" if body.startswith(b"\xef\xbb\xbf") else str(error)
    raise ValueError(f"must be valid JSON: {problem}")


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"an object has two members {shown(name)}")
        found[name] = value
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _parse_integer(digits: str) -> int:
    return int(digits[:MAX_NUMBER_LENGTH])


def _typed(field: FieldDescriptor, text: str) -> Any:
    """Return the text of a parameter as JSON would write the value of the field."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    if field.enum_type and text.isascii() and text.isdigit():
        return _parse_integer(text)
    return text


@cache
def etag_path(route: Route) -> str:
    """Return the path of the etag that a request may name, or an empty string if it names none."""
    fields = route.method.request.DESCRIPTOR.fields_by_name
    if "etag" in fields:
        return "etag"
    names_resource = any(segment.startswith(f"{{{route.body}.") for segment in route.segments)
    resource = fields[route.body].message_type if route.body in fields and names_resource else None
    return f"{route.body}.etag" if resource and "etag" in resource.fields_by_name else ""
