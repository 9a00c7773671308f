"""The operations of the OpenAPI document: one for each route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from registrar_server.http.json_requests import etag_path
from registrar_server.http.json_schemas import UUID_PATTERN, JsonSchemas, is_required
from registrar_server.http.json_values import is_leaf
from registrar_server.http.openapi_answers import JSON, Answers
from registrar_server.http.proto_comments import summary
from registrar_server.http.routes import Route
from registrar_server.identity.credentials import MAX_NAME_CHARACTERS

_DURATION = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"}

HEADERS: Mapping[str, dict[str, Any]] = {
    "RegistrarTimeout": {
        "name": "Registrar-Timeout",
        "in": "header",
        "description": "How long the caller waits for the answer, such as `500ms`, `5s` or `2m`, at most `1h`."
        " Without it 30 s. When the time is over, the call fails with 504.",
        "schema": {**_DURATION, "default": "30s"},
    },
    "TimeoutOfStream": {
        "name": "Registrar-Timeout",
        "in": "header",
        "description": "How long the stream lasts, such as `500ms`, `5s` or `2m`, at most `1h`. Without it the stream"
        " has no end. When the time is over, the stream ends with DEADLINE_EXCEEDED.",
        "schema": _DURATION,
    },
    "LastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The `id` of the last event that the caller has received. The stream goes on after it, whatever"
        " `after_revision` says.",
        "schema": {"type": "string", "pattern": "^[0-9]{0,19}$"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The `request_id` of the request. If the request names one too, both must be the same.",
        "schema": {"type": "string", "pattern": f"^{UUID_PATTERN}$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "The `etag` of the request, as the header `ETag` of an answer has it: one etag in quotes. `*`"
        " matches every version. If the request names an etag too, both must be the same.",
        "schema": {"type": "string", "pattern": r'^(\*|"[^"]+")$'},
    },
    "RegistrarOnBehalfOf": {
        "name": "Registrar-On-Behalf-Of",
        "in": "header",
        "description": "The person for whom the caller makes the call, for the history. The caller needs the permission"
        " `on_behalf_of`.",
        "schema": {"type": "string", "pattern": "^[!-~]+( +[!-~]+)*$", "maxLength": MAX_NAME_CHARACTERS},
    },
}
"""The headers of requests, by the names of their components."""


class Operations:
    """Makes the operations of routes."""

    def __init__(self, schemas: JsonSchemas, answers: Answers, comments: Mapping[str, str]) -> None:
        self._schemas = schemas
        self._answers = answers
        self._comments = comments

    def of_route(self, route: Route, operation_id: str) -> dict[str, Any]:
        """Return the operation of a route."""
        comment = self._comments[route.rpc.full_name]
        operation = {
            "operationId": operation_id,
            "tags": [route.rpc.containing_service.name],
            "summary": summary(comment),
            "description": comment,
            "parameters": [*self._in_path(route), *self._in_query(route), *_headers(route)],
            "responses": self._answers.of_route(route),
        }
        return operation | ({"requestBody": self._body(route)} if route.body else {})

    def _in_path(self, route: Route) -> Iterator[dict[str, Any]]:
        for path in route.field_paths:
            field = _field_at(_request(route), path)
            schema = self._schemas.field(field, required=True)
            yield self._parameter(field, {"name": field.name, "in": "path", "required": True, "schema": schema})

    def _in_query(self, route: Route) -> Iterator[dict[str, Any]]:
        """Yield the fields that neither the path nor the body has."""
        if route.body == "*":
            return
        for path, field, required in _leaves(_request(route)):
            if path in route.field_paths or path.split(".")[0] == route.body:
                continue
            schema = self._schemas.field(field, required=is_required(field))
            parameter = {"name": path, "in": "query", "required": required, "schema": schema}
            form = {"style": "form", "explode": True} if field.is_repeated else {}
            yield self._parameter(field, parameter | form)

    def _parameter(self, field: FieldDescriptor, parameter: dict[str, Any]) -> dict[str, Any]:
        return {**parameter, "description": self._comments.get(field.full_name, "")}

    def _body(self, route: Route) -> dict[str, Any]:
        request = _request(route)
        if route.body == "*":
            schema = self._schemas.body(request, frozenset(route.field_paths))
            required = any(is_required(one) for one in request.fields if one.name not in route.field_paths)
            return {"required": required, "content": {JSON: {"schema": schema}}}
        field = request.fields_by_name[route.body]
        return {
            "description": self._comments.get(field.full_name, ""),
            "required": is_required(field),
            "content": {JSON: {"schema": self._schemas.field(field, required=True)}},
        }


def template(route: Route) -> str:
    """Return the path of a route with the last names of its fields: ``{course_id}`` for ``{course.course_id}``.

    OpenAPI does not allow two paths that differ only in the names of their parameters.
    """
    path = route.path
    for name in route.field_paths:
        path = path.replace(f"{{{name}}}", f"{{{name.rpartition('.')[2]}}}")
    return path


def _request(route: Route) -> Descriptor:
    return route.method.request.DESCRIPTOR  # type: ignore[return-value]  # Its stub is a union.


def _field_at(kind: Descriptor, path: str) -> FieldDescriptor:
    *parents, name = path.split(".")
    inner: Any = kind
    for parent in parents:
        inner = inner.fields_by_name[parent].message_type
    found: FieldDescriptor = inner.fields_by_name[name]
    return found


def _leaves(kind: Descriptor, prefix: str = "", required: bool = True) -> Iterator[tuple[str, FieldDescriptor, bool]]:
    """Yield the fields that a query can have: their paths, and whether a request must have them."""
    for field in kind.fields:
        path, needed = f"{prefix}{field.name}", required and is_required(field)
        if is_leaf(field):
            yield path, field, needed
        elif field.message_type and not field.is_repeated:
            yield from _leaves(field.message_type, f"{path}.", needed)


def _headers(route: Route) -> Iterator[dict[str, str]]:
    wanted = {
        "RegistrarTimeout": not route.is_stream,
        "TimeoutOfStream": route.is_stream,
        "RegistrarOnBehalfOf": True,
        "IdempotencyKey": "request_id" in _request(route).fields_by_name,
        "IfMatch": bool(etag_path(route)),
        "LastEventId": route.is_stream,
    }
    yield from ({"$ref": f"#/components/parameters/{name}"} for name, wants in wanted.items() if wants)
