"""The routes of the HTTP API, read from the ``google.api.http`` options of the protos."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import MethodDescriptor

from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.rpc.methods import Method, Watch
from registrar_server.rpc.table import METHODS, SERVICES

_TEMPLATE = re.compile(r"(?P<path>(?:/(?:[a-zA-Z0-9]+|\{[a-z_.]+\}))+)(?::(?P<verb>[a-z]+))?")
MAX_PARTS = 16
"""A path is split into fewer parts, more than any route has: to decode thousands of them would keep the event loop."""
_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Route:
    """A way to call a method: ``POST /v1/courses/{course_id}:settle``."""

    verb: str
    """The HTTP method, such as POST."""
    segments: tuple[str, ...]
    """The parts of the path between slashes; a part in braces takes the value of the field that it names."""
    custom_verb: str
    """The part after the last colon, such as settle; usually empty."""
    body: str
    """The field that the body becomes; ``*`` for all fields that the path does not name, empty for no body."""
    rpc: MethodDescriptor
    method: Method

    @property
    def path(self) -> str:
        """The path, with the names of fields in braces."""
        return "".join(f"/{segment}" for segment in self.segments) + (
            f":{self.custom_verb}" if self.custom_verb else ""
        )

    @property
    def field_paths(self) -> tuple[str, ...]:
        """The paths of the fields that the path of the route has, such as ``course.course_id``."""
        return tuple(segment[1:-1] for segment in self.segments if segment.startswith("{"))

    @property
    def verbs(self) -> tuple[str, ...]:
        """The HTTP methods that the route answers. A stream cannot answer HEAD: it has no end."""
        return ("GET", "HEAD") if self.verb == "GET" and not self.is_stream else (self.verb,)

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream."""
        return isinstance(self.method, Watch)

    def fields(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        """Return the fields in the parts of a path, or None if the path is not of this route or lacks a field."""
        found: dict[str, str] = {}
        for segment, part in zip(self.segments, parts, strict=True):
            if segment.startswith("{") and part:
                found[segment[1:-1]] = part
            elif segment != part:
                return None
        return found


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and the decoded values of the fields in the path, by the path of the field."""

    route: Route
    fields: Mapping[str, str]


class Router:
    """Finds the route of a request. ``described`` says that the server also answers with a list of all paths."""

    def __init__(self, routes: Iterable[Route], *, described: bool) -> None:
        self.routes = tuple(routes)
        self._hint = "; /openapi.json lists all of them" if described else ""
        self._by_shape: dict[tuple[str, int, str], list[Route]] = {}
        for route in self.routes:
            shape = (route.verb, len(route.segments), route.custom_verb)
            self._by_shape.setdefault(shape, []).append(route)
        self._verbs = tuple(sorted({route.verb for route in self.routes}))

    def find(self, verb: str, raw_path: bytes) -> Match:
        """Return the route of a request, or raise PATH_UNKNOWN or METHOD_NOT_ALLOWED.

        The path is split before it is decoded, so an encoded slash or colon is part of a value. A value may contain
        colons: the text after the last one is a custom verb only where a method has one of that name.
        """
        parts, last = _split(raw_path)
        match = self._find("GET" if verb == "HEAD" else verb, parts, last)
        if match and (verb != "HEAD" or not match.route.is_stream):
            return match
        others = [other for one in self._verbs if (other := self._find(one, parts, last))]
        allowed = [name for other in others for name in other.route.verbs]
        raise method_not_allowed(allowed) if allowed else _path_unknown((*parts, _decoded(last)), self._hint)

    def _find(self, verb: str, parts: tuple[str, ...], last: bytes) -> Match | None:
        before, colon, custom_verb = last.rpartition(b":")
        if colon and (match := self._match(verb, (*parts, _decoded(before)), custom_verb.decode("latin-1"))):
            return match
        return self._match(verb, (*parts, _decoded(last)), "")

    def _match(self, verb: str, parts: tuple[str, ...], custom_verb: str) -> Match | None:
        for route in self._by_shape.get((verb, len(parts), custom_verb), ()):
            fields = route.fields(parts)
            if fields is not None:
                return Match(route, fields)
        return None


def method_not_allowed(allowed: Iterable[str]) -> HttpRefusal:
    """Return the refusal of a method that a path does not have."""
    listed = ", ".join(allowed)
    return HttpRefusal(
        HttpReason.METHOD_NOT_ALLOWED, f"The path does not have this method; it has {listed}.", {"allow": listed}
    )


def _path_unknown(parts: tuple[str, ...], hint: str) -> HttpRefusal:
    lack = "" if all(parts) else " A part between two slashes, or after the last one, is empty."
    return HttpRefusal(HttpReason.PATH_UNKNOWN, f"The server has no such path{hint}.{lack}")


def _split(raw_path: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the decoded segments of a path but the last, and the last one as it came."""
    *parts, last = raw_path.removeprefix(b"/").split(b"/", MAX_PARTS - 1)
    return tuple(map(_decoded, parts)), last


def _decoded(segment: bytes) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise HttpRefusal(HttpReason.MALFORMED_HTTP, "The path must be UTF-8, percent-encoded.") from None


def all_routes() -> Iterator[Route]:
    """Return the routes of every method of the table, in the order of the protos."""
    for service in SERVICES:
        for rpc in service.methods:
            rule = rpc.GetOptions().Extensions[annotations_pb2.http]
            for one in (rule, *rule.additional_bindings):
                yield _route(one, rpc, METHODS[service.full_name][rpc.name])


def _route(rule: HttpRule, rpc: MethodDescriptor, method: Method) -> Route:
    verb = rule.WhichOneof("pattern")
    template = _TEMPLATE.fullmatch(getattr(rule, verb)) if verb in _VERBS else None
    if template is None:
        raise RuntimeError(f"{rpc.full_name} has an HTTP binding that the server cannot route: {rule}")
    segments = tuple(template["path"].split("/")[1:])
    return Route(verb.upper(), segments, template["verb"] or "", rule.body, rpc, method)
