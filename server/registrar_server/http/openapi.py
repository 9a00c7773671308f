"""The description of the HTTP API as an OpenAPI document, made from the protos and their comments."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from registrar_server import version
from registrar_server.http.answers import HttpAnswer
from registrar_server.http.json_schemas import JsonSchemas
from registrar_server.http.openapi_answers import JSON, Answers
from registrar_server.http.openapi_operations import HEADERS, Operations, template
from registrar_server.http.proto_comments import comments
from registrar_server.http.routes import all_routes, method_not_allowed
from registrar_server.rpc.table import SERVICES

OPENAPI_PATH = "/openapi.json"

_DESCRIPTION = """\
Enrolls students in courses. Each operation is a method of the gRPC API and has the same fields, rules and refusals.

* Requests and answers are JSON, in UTF-8. Every POST, PUT and PATCH needs `Content-Type: application/json`.
* Answers contain all fields, also those that are zero, `false` or empty. Fields that can be absent are left out.
  64-bit integers are strings.
* Unknown fields and query parameters are refused. Requests may also use the camel-case names of fields, `courseId` for
  `course_id`, and `null` for fields that are not set.
* A refusal is a `google.rpc.Status`. The first of its `details` has the `reason`, which is stable and meant for
  programs.
* Each path with GET also answers HEAD, except for streams."""

_BEARER = "An API key or a token. A server that does not identify its callers ignores it."


class Description:
    """An ASGI application that answers with the document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] not in ("GET", "HEAD"):
            raise method_not_allowed(["GET", "HEAD"])
        # The first request makes the document, which takes longer than the event loop may be kept.
        answer = HttpAnswer(200, await asyncio.to_thread(openapi_json))
        await answer.send(send)


@cache
def openapi_json() -> bytes:
    """Return the document as a line of JSON."""
    return msgspec.json.encode(openapi()) + b"\n"


def openapi() -> dict[str, Any]:
    """Return the document."""
    texts = comments()
    schemas = JsonSchemas(texts)
    answers = Answers(schemas, texts)
    paths = _paths(Operations(schemas, answers, texts)) | _server_paths(answers)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Registrar",
            "version": version(),
            "description": _DESCRIPTION,
        },
        "tags": [{"name": service.name, "description": texts[service.full_name]} for service in SERVICES],
        "paths": paths,
        "security": [{"bearer": []}, {}],
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "parameters": HEADERS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _BEARER}},
        },
    }


def _paths(operations: Operations) -> dict[str, Any]:
    """Return the operations of all routes. The second route of a method has an id with a 2, and so on."""
    paths: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for route in all_routes():
        name = route.method.name
        seen[name] += 1
        operation_id = name if seen[name] == 1 else f"{name}{seen[name]}"
        paths.setdefault(template(route), {})[route.verb.lower()] = operations.of_route(route, operation_id)
    return paths


def _server_paths(answers: Answers) -> dict[str, Any]:
    """Return the operations that are no methods: the probes and this document."""
    failures = answers.of_http("GET")
    unavailable = answers.failure(503, "the message says what is missing")
    return {
        "/healthz": _get("CheckAlive", "Says that the process answers", failures),
        "/readyz": _get("CheckReady", "Says whether the server can carry out calls", failures | {"503": unavailable}),
        OPENAPI_PATH: _get("DescribeApi", "Returns this document", failures),
    }


def _get(operation_id: str, summary: str, failures: dict[str, Any]) -> dict[str, Any]:
    success = {"description": f"{summary}.", "content": {JSON: {"schema": {"type": "object"}}}}
    answers = {"200": success, **failures}
    return {"get": {"operationId": operation_id, "summary": summary, "security": [], "responses": answers}}
