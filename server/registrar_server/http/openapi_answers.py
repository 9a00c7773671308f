"""The answers of an operation in the OpenAPI document: the response, and every status with which it can fail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from registrar_server.errors import STATUS, Reason
from registrar_server.http.answers import CHALLENGES, ETAG_MISMATCH_STATUS, HTTP_STATUSES, resource_with_etag
from registrar_server.http.incoming import WITH_BODY
from registrar_server.http.json_requests import etag_path
from registrar_server.http.json_schemas import JsonSchema, JsonSchemas
from registrar_server.http.refusals import STATUSES, HttpReason
from registrar_server.http.routes import Route
from registrar_server.rpc.batch_requests import CHANGES, Batch
from registrar_server.rpc.table import SERVICES

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

_STREAM = """\
Server-sent events, until the stream fails. The `data` of each event is a response, and its `id` the `revision`:

```
id: 17
data: {"events":[…],"revision":"17","checkpoint":false}
```

A stream that fails ends with an event whose name is `error`. It has no `id`, and its `data` is a `Status`. Comments in
between show that the connection is alive. The schema describes one event."""

_OF_OTHER_PATHS = {HttpReason.PATH_UNKNOWN, HttpReason.METHOD_NOT_ALLOWED, HttpReason.SCHEMA_BEHIND}
"""The reasons that a request on the path of an operation, with its method, never has."""
_WITHOUT_REASON = (Code.INTERNAL, Code.DEADLINE_EXCEEDED)
_WITH_RETRY = {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_REASON = re.compile(r"`([A-Z_]+)`")


class Answers:
    """Makes the answers of operations."""

    def __init__(self, schemas: JsonSchemas, comments: Mapping[str, str]) -> None:
        self._schemas = schemas
        self._comments = comments

    def of_route(self, route: Route) -> dict[str, Any]:
        """Return the answers of a method, by HTTP status."""
        reasons = [(status, f"`{reason}`") for status, reason in (*self._reasons(route), *_reasons_of_http(route.verb))]
        if route.is_stream:
            reasons.append((STATUSES[HttpReason.METHOD_NOT_ALLOWED][0], f"`{HttpReason.METHOD_NOT_ALLOWED}`"))
        codes = [(HTTP_STATUSES[code], Code.Name(code)) for code in _WITHOUT_REASON]
        return {"200": self._success(route)} | self._failures([*reasons, *codes])

    def of_http(self, verb: str) -> dict[str, Any]:
        """Return the answers to a request that is refused before it becomes a call, by HTTP status."""
        return self._failures([(status, f"`{reason}`") for status, reason in _reasons_of_http(verb)])

    def _failures(self, reasons: Iterable[tuple[int, str]]) -> dict[str, Any]:
        names: dict[int, list[str]] = {}
        for status, name in reasons:
            names.setdefault(status, []).append(name)
        return {str(status): self.failure(status, ", ".join(names[status])) for status in sorted(names)}

    def failure(self, status: int, reasons: str) -> dict[str, Any]:
        """Return the answer with a status, for reasons in words."""
        schema = self._schemas.answer(Status.DESCRIPTOR)
        answer = _in_json(f"{HTTPStatus(status).phrase}: {reasons}.", schema)
        if status in _WITH_RETRY:
            retry = "The seconds to wait before a retry. Absent if a retry does not help."
            answer["headers"] = {"Retry-After": {"description": retry, "schema": {"type": "integer", "minimum": 0}}}
        if status == HTTPStatus.UNAUTHORIZED:
            challenge = "How to send credentials, and whether those of the request are wrong (RFC 6750)."
            schema = {"type": "string", "enum": list(CHALLENGES.values())}
            answer["headers"] = {"WWW-Authenticate": {"description": challenge, "schema": schema}}
        return answer

    def _success(self, route: Route) -> dict[str, Any]:
        kind: Any = route.method.response.DESCRIPTOR
        if route.is_stream:
            return {"description": _STREAM, "content": {EVENT_STREAM: {"schema": self._event(kind)}}}
        answer = _in_json(self._comments[kind.full_name], self._schemas.answer(kind))
        if resource := resource_with_etag(kind):
            etag = f"The `etag` of the `{resource}` in quotes, to send as If-Match. Absent if it is empty."
            answer["headers"] = {"ETag": {"description": etag, "schema": {"type": "string"}}}
        return answer

    def _event(self, kind: Descriptor) -> JsonSchema:
        """Return the schema of a server-sent event, in the form that OpenAPI 3.2 describes."""
        response = {
            "id": {"type": "string", "pattern": "^[0-9]+$"},
            "event": {"const": "message"},  # An event without a name is of this type.
            "data": _json_text(self._schemas.answer(kind)),
        }
        error = {"event": {"const": "error"}, "data": _json_text(self._schemas.answer(Status.DESCRIPTOR))}
        choices = [
            {"type": "object", "required": ["id", "data"], "properties": response},
            {"type": "object", "required": ["event", "data"], "properties": error},
        ]
        return {"oneOf": choices}

    def _reasons(self, route: Route) -> Iterator[tuple[int, Reason]]:
        """Yield the reasons that the comments of a method and of its service name, with their HTTP statuses.

        A batch that is atomic has the reasons of its writes, too.
        """
        texts = [self._comments[route.rpc.containing_service.full_name]]
        texts += [self._comments[rpc.full_name] for rpc in (route.rpc, *_rpcs_of_writes(route))]
        named = set(_REASON.findall("".join(texts)))
        for reason in Reason:
            if reason in named and _fits(reason, route):
                yield _http_status(reason), reason


def _rpcs_of_writes(route: Route) -> Iterator[MethodDescriptor]:
    """Yield the RPCs whose requests a request of the route can contain."""
    if isinstance(route.method, Batch):
        names = {change.name for change in CHANGES.values()}
        yield from (rpc for service in SERVICES for rpc in service.methods if rpc.name in names)


def _fits(reason: Reason, route: Route) -> bool:
    """Return whether a method can have a reason, which the comment of its service names for some of its methods."""
    if reason is Reason.ETAG_MISMATCH:
        return bool(etag_path(route)) or isinstance(route.method, Batch)
    return reason is not Reason.REQUEST_ID_REUSED or "request_id" in route.method.request.DESCRIPTOR.fields_by_name


def _http_status(reason: Reason) -> int:
    if reason is Reason.ETAG_MISMATCH:
        return ETAG_MISMATCH_STATUS
    return HTTP_STATUSES[Code.Value(STATUS[reason])]


def _reasons_of_http(verb: str) -> Iterator[tuple[int, HttpReason]]:
    for reason, (status, _) in STATUSES.items():
        if reason is HttpReason.MEDIA_TYPE_UNSUPPORTED and verb not in WITH_BODY:
            continue
        if reason not in _OF_OTHER_PATHS:
            yield status, reason


def _in_json(description: str, schema: JsonSchema) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _json_text(schema: JsonSchema) -> JsonSchema:
    return {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
