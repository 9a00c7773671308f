"""Writes the request of an RPC as the HTTP request of one of its routes, from the ``google.api.http`` options alone.

Nothing of it is shared with the server, so that a test can compare both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

VERBS = ("get", "put", "post", "delete", "patch")


class HttpForm(NamedTuple):
    """The parts of an HTTP request."""

    verb: str
    path: str
    body: Any
    query: list[tuple[str, Any]]
    headers: dict[str, str]


@dataclass(frozen=True)
class Style:
    """One of the ways in which a caller may write the same request."""

    binding: int = 0
    """Which of the routes to take, if the RPC has so many; otherwise the first."""
    camel_case: bool = False
    """Whether to write courseId instead of course_id."""
    headers: bool = False
    """Whether to send ``request_id`` and the etag as headers."""


def bindings(rpc: MethodDescriptor) -> list[HttpRule]:
    """Return the routes of an RPC."""
    rule = rpc.GetOptions().Extensions[annotations_pb2.http]
    return [rule, *rule.additional_bindings]


def template(rule: HttpRule) -> tuple[str, str]:
    """Return the HTTP method and the path of a route."""
    verb = rule.WhichOneof("pattern")
    assert verb in VERBS
    return verb.upper(), getattr(rule, verb)


def as_http(rule: HttpRule, request: Message, style: Style) -> HttpForm:
    """Return a request as HTTP."""
    verb, path = template(rule)
    tree = json_format.MessageToDict(request, preserving_proto_field_name=True)
    headers = _take_headers(rule, tree) if style.headers else {}
    for name in re.findall(r"\{([a-z_.]+)\}", path):
        path = path.replace(f"{{{name}}}", quote(_take(tree, name), safe=""))
    body = None
    if rule.body == "*":
        body, tree = tree, {}
    elif rule.body:
        body = tree.pop(rule.body, {})
    if style.camel_case:
        tree, body = _camel_cased(tree), _camel_cased(body)
    elif "update_mask" in tree:
        tree["update_mask"] = ",".join(request.update_mask.paths)  # type: ignore[attr-defined]
    return HttpForm(verb, path, body, list(_parameters(tree)), headers)


def _take_headers(rule: HttpRule, tree: dict[str, Any]) -> dict[str, str]:
    headers = {}
    if key := tree.pop("request_id", ""):
        headers["idempotency_key"] = key
    resource = tree.get(rule.body, tree)
    if etag := resource.pop("etag", ""):
        headers["if_match"] = f'"{etag}"'
    return headers


def _take(tree: dict[str, Any], path: str) -> str:
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree[parent]
    return str(tree.pop(name))


def _camel_cased(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub(r"_([a-z])", lambda found: found[1].upper(), name): _camel_cased(item)
            for name, item in value.items()
        }
    return [_camel_cased(item) for item in value] if isinstance(value, list) else value


def _parameters(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _parameters(value, f"{prefix}{name}.")
        else:
            for one in value if isinstance(value, list) else [value]:
                yield prefix + name, str(one).lower() if isinstance(one, bool) else one
