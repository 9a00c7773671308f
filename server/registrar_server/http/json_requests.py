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
from registrar_server.http.json_values import canonical_object, canonical_value, fields_of, is_leaf, unknown
from registrar_server.http.routes import Match, Route
from registrar_server.rpc.id_rule import shown
from registrar_server.rpc.validation import Fields

IF_MATCH = "if-match"
IDEMPOTENCY_KEY = "idempotency-key"


def read_request(match: Match, query: bytes, headers: Mapping[str, str], body: bytes) -> Message:
    """Return the request of the method.

    Raises INVALID_FIELD that names every value that does not fit, every unknown field, and every field that is given
    differently in two places.
    """
    given, route = Fields(), match.route
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

    def __init__(self, route: Route, given: Fields) -> None:
        self._route = route
        self._given = given
        self._kind: Descriptor = route.method.request.DESCRIPTOR  # type: ignore[assignment]  # Its stub is a union.
        self.tree: dict[str, Any] = {}

    def read_body(self, body: bytes) -> None:
        if not self._route.body:
            if body:
                self._given.wrong("body", f"must be empty: a {self._route.verb} of this path has no body")
            return
        value = _json(body) if body else {}
        if self._route.body == "*":
            self.tree = canonical_object(self._kind, value, "", self._given)
        else:
            field = fields_of(self._kind)[self._route.body]
            self.tree[field.name] = canonical_value(field, value, field.name, self._given)

    def read_query(self, query: bytes) -> None:
        values: dict[str, list[str]] = {}
        for name, value in _pairs(query):
            values.setdefault(name, []).append(value)
        for name, texts in values.items():
            self._read_parameter(name, texts)

    def _read_parameter(self, name: str, texts: list[str]) -> None:
        if self._route.body == "*":
            self._given.wrong(name, "must be in the body: this path has no query parameters")
            return
        field, path = self._find(name)
        if field is None:
            return
        if not is_leaf(field):
            self._given.wrong(path, f"has fields of its own: name one of them, with {path}. before it")
        elif field.is_repeated:
            self.put(path, [self._value(field, text, path) for text in texts])
        elif len(texts) > 1:
            self._given.wrong(path, f"is given {len(texts)} times")
        else:
            self.put(path, self._value(field, texts[0], path))

    def _find(self, name: str) -> tuple[FieldDescriptor | None, str]:
        """Return the field of a parameter such as ``filter.course_id``, and its path in the names of the proto."""
        kind: Descriptor | None = self._kind
        path: list[str] = []
        field = None
        for part in name.split("."):
            field = fields_of(kind).get(part) if kind is not None else None
            if field is None:
                self._given.wrong(
                    name, unknown(kind, part) if kind is not None else f"is no field: {path[-1]} has none"
                )
                break
            path.append(field.name)
            kind = None if is_leaf(field) or field.is_repeated else field.message_type
        return field, ".".join(path)

    def _value(self, field: FieldDescriptor, text: str, path: str) -> Any:
        value: Any = text
        if field.type == FieldDescriptor.TYPE_BOOL:
            value = {"true": True, "false": False}.get(text, text)
        elif field.enum_type and text.isascii() and text.isdigit():
            value = int(text)
        return canonical_value(field, value, path, self._given)

    def read_headers(self, headers: Mapping[str, str]) -> None:
        if key := headers.get(IDEMPOTENCY_KEY):
            self._put_header("Idempotency-Key", "request_id", key.strip().strip('"'))
        if etag := headers.get(IF_MATCH):
            self._put_header("If-Match", _etag_path(self._route), _unquoted(etag, self._given))

    def _put_header(self, header: str, path: str, value: str) -> None:
        if not path or path.split(".")[0] not in self._kind.fields_by_name:
            self._given.wrong(header, f"does not apply to {self._route.method.name}")
        elif value:
            self.put(path, value)

    def put(self, path: str, value: Any) -> None:
        """Set a field that no other part of the request has set differently."""
        *parents, name = path.split(".")
        inner = self.tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        if inner.setdefault(name, value) != value:
            self._given.wrong(path, f"is given twice, as {_text(inner[name])} and as {_text(value)}")

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


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = str(error)
    raise Refusal(Reason.INVALID_FIELD, f"The body is not valid JSON: {problem}.")


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"an object has two members {shown(name)}")
        found[name] = value
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Refusal(Reason.INVALID_FIELD, "The query must be UTF-8, percent-encoded.") from None


@cache
def _etag_path(route: Route) -> str:
    """Return the path of the etag that a request may name, or an empty string if it names none."""
    fields = route.method.request.DESCRIPTOR.fields_by_name
    if "etag" in fields:
        return "etag"
    resource = fields[route.body].message_type if route.body in fields else None
    return f"{route.body}.etag" if resource and "etag" in resource.fields_by_name else ""


def _unquoted(etag: str, given: Fields) -> str:
    """Return the etag of an If-Match header; empty for ``*``, which any version matches."""
    etag = etag.strip()
    if etag == "*":
        return ""
    if len(etag) < 3 or not (etag.startswith('"') and etag.endswith('"')) or '"' in etag[1:-1]:
        given.wrong("If-Match", f"must be one etag in quotes, as the ETag header has it, or *, not {shown(etag)}")
    return etag[1:-1]


def _text(value: Any) -> str:
    return shown(value) if isinstance(value, str) else shown(json.dumps(value)).strip('"')
