"""The OpenAPI document: complete, valid, with the comments of the protos, and served unless reflection is off."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from openapi_spec_validator import OpenAPIV31SpecValidator

from registrar.v1 import course_pb2, enrollment_pb2, error_reason_pb2, event_pb2, student_pb2
from registrar.v1.batch_service_pb2 import Write
from registrar_server.http.openapi import openapi
from registrar_server.http.openapi_operations import template
from registrar_server.http.routes import Route, all_routes
from registrar_server.rpc.reflection import REFLECTION_SERVICES
from registrar_server.rpc.table import METHODS
from tests.support.servers import serving

DOCUMENT = openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
ROUTES = list(all_routes())
RESOURCES = (course_pb2, enrollment_pb2, error_reason_pb2, event_pb2, student_pb2)


def named(route: Route) -> str:
    return f"{route.verb} {route.path}"


def operation(verb: str, path: str) -> dict[str, Any]:
    return dict(DOCUMENT["paths"][path][verb.lower()])


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def parameters(found: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    components = DOCUMENT["components"]["parameters"]
    all_of_them = [components[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in found["parameters"]]
    return {one["name"]: one for one in all_of_them if one["in"] == place}


def body(found: dict[str, Any]) -> dict[str, Any]:
    return resolved(found["requestBody"]["content"]["application/json"]["schema"])


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (text for name, text in value.items() if name == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


class Answer(NamedTuple):
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """The reason of a refusal."""
        return str(json.loads(self.body)["details"][0]["reason"])


async def ask(address: str, verb: str, path: str) -> Answer:
    return await asyncio.to_thread(_ask, address, verb, path)


def _ask(address: str, verb: str, path: str) -> Answer:
    connection = HTTPConnection(address)
    try:
        connection.request(verb, path)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def test_it_is_valid() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_reference_has_a_target() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_every_method_has_an_operation_and_each_has_an_id_of_its_own() -> None:
    ids = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len(set(ids)) == len(ids)
    assert set(ids) >= {name for methods in METHODS.values() for name in methods}


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_every_field_of_a_request_is_in_the_path_the_query_or_the_body(route: Route) -> None:
    found = operation(route.verb, template(route))
    in_path = list(parameters(found, "path"))
    assert in_path == [path.rpartition(".")[2] for path in route.field_paths]
    request: Any = route.method.request.DESCRIPTOR
    expected = set(leaves(request)) - set(route.field_paths)
    if route.body == "*":
        assert set(body(found)["properties"]) == {name.partition(".")[0] for name in expected}
        assert not parameters(found, "query")
    else:
        of_body = {name for name in expected if route.body and name.startswith(f"{route.body}.")}
        assert set(parameters(found, "query")) == expected - of_body
    if route.body not in ("", "*"):
        resource = request.fields_by_name[route.body].message_type
        assert list(body(found)["properties"]) == [field.name for field in resource.fields]


def leaves(kind: Descriptor, prefix: str = "") -> Iterator[str]:
    """Yield the paths of all fields that have no fields of their own, or are repeated or well known."""
    for field in kind.fields:
        inner = field.message_type
        if inner and not field.is_repeated and inner.file.package == "registrar.v1":
            yield from leaves(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_the_second_route_of_a_method_has_an_id_with_a_number() -> None:
    assert operation("post", "/v1/students/{student_id}/enroll")["operationId"] == "EnrollStudent"
    assert operation("post", "/students/{student_id}/enroll")["operationId"] == "EnrollStudent2"


def test_every_message_and_enum_of_the_resources_has_a_schema_with_its_comment() -> None:
    for module in RESOURCES:
        for name in (*module.DESCRIPTOR.message_types_by_name, *module.DESCRIPTOR.enum_types_by_name):
            schema = SCHEMAS[name] if name in SCHEMAS else SCHEMAS[f"{name}Input"]
            assert schema["description"], name


def test_comments_appear_as_summaries_and_descriptions() -> None:
    found = operation("delete", "/v1/students/{student_id}/unenroll")
    assert found["summary"] == "Gives up a student's seat in a course or place on its waitlist"
    assert "\n* NOT_FOUND / `NOT_ENROLLED`: the student has no live enrollment" in found["description"]
    assert parameters(found, "query")["course_id"]["description"] == "The id of the course."
    assert SCHEMAS["Course"]["properties"]["title"]["description"] == "Title, at most 500 characters."
    assert "* `COURSE_STATE_CANCELLED`: The course does not take place." in SCHEMAS["CourseState"]["description"]
    assert "Enrolls students in courses." in DOCUMENT["tags"][0]["description"]


def test_ids_have_their_rule() -> None:
    rule = "[A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}"
    in_path = parameters(operation("get", "/v1/courses/{course_id}"), "path")["course_id"]["schema"]
    assert in_path == {"type": "string", "pattern": f"^{rule}$", "minLength": 1, "maxLength": 128}
    chosen = SCHEMAS["CourseInput"]["properties"]["course_id"]
    assert (chosen["pattern"], chosen["minLength"]) == (f"^({rule})?$", 0)


def test_parameters_of_the_query_have_the_types_of_their_fields() -> None:
    roster = parameters(operation("get", "/v1/courses/{course_id}/roster"), "query")
    assert (roster["states"]["style"], roster["states"]["explode"]) == ("form", True)
    states = enrollment_pb2.EnrollmentState.keys()
    assert roster["states"]["schema"] == {"type": "array", "items": {"type": "string", "enum": states[1:]}}
    assert roster["show_deleted"]["schema"] == {"type": "boolean"}
    assert (roster["page_size"]["schema"]["type"], roster["page_size"]["schema"]["minimum"]) == ("integer", 0)
    events = parameters(operation("get", "/v1/events"), "query")
    assert events["start_time"]["schema"] == {"type": "string", "format": "date-time"}
    assert events["after_revision"]["schema"]["type"] == "string"
    update = parameters(operation("patch", "/v1/courses/{course_id}"), "query")
    assert update["update_mask"]["schema"] == {"type": "string"}


def test_a_nested_field_that_is_required_is_optional_in_the_query_if_its_message_is() -> None:
    query = parameters(operation("delete", "/v1/students/{student_id}/unenroll"), "query")
    assert query["course_id"]["required"]
    assert not query["override.reason"]["required"]
    assert query["override.reason"]["schema"] == {"type": "string", "minLength": 1}


def test_bodies_require_what_the_protos_require_and_nothing_unknown() -> None:
    found = operation("post", "/v1/students/{student_id}/enroll")
    assert found["requestBody"]["required"]
    assert (body(found)["required"], body(found)["additionalProperties"]) == (["course_id"], False)
    assert not operation("post", "/v1/courses/{course_id}:settle")["requestBody"]["required"]
    assert SCHEMAS["CourseInput"]["properties"]["enrolled_count"]["readOnly"]


def test_answers_require_the_fields_that_are_always_printed() -> None:
    required = SCHEMAS["Course"]["required"]
    assert {"title", "meetings", "enrolled_count"} <= set(required)
    assert not {"capacity", "create_time"} & set(required), "these can be absent"
    assert SCHEMAS["ListEventsResponse"]["properties"]["last_revision"]["type"] == "string"


def test_a_write_is_one_of_its_requests() -> None:
    """A oneof of a request is a choice, and a field that is optional in the proto is none."""
    names = [field.name for field in Write.DESCRIPTOR.oneofs_by_name["write"].fields]
    assert SCHEMAS["WriteInput"]["oneOf"] == [{"required": [name]} for name in names]
    assert set(SCHEMAS["WriteInput"]["properties"]) == {*names, "timeout"}
    assert [name for name, schema in SCHEMAS.items() if "oneOf" in schema or "allOf" in schema] == ["WriteInput"]


def test_an_atomic_batch_has_the_reasons_of_its_writes() -> None:
    answers = operation("post", "/v1/batchWrite")["responses"]
    for status, reason in (("404", "HOLD_NOT_FOUND"), ("409", "COURSE_EXISTS"), ("412", "ETAG_MISMATCH")):
        assert f"`{reason}`" in answers[status]["description"]


def test_headers_appear_where_they_apply() -> None:
    assert set(parameters(operation("delete", "/v1/courses/{course_id}"), "header")) == {
        "Registrar-Timeout",
        "Registrar-On-Behalf-Of",
        "Idempotency-Key",
        "If-Match",
    }
    assert "If-Match" not in parameters(operation("post", "/v1/students/{student_id}/enroll"), "header")
    assert set(parameters(operation("get", "/v1/events"), "header")) == {
        "Registrar-Timeout",
        "Registrar-On-Behalf-Of",
    }


def test_a_stream_consists_of_server_sent_events() -> None:
    """The data of each is a response, or the status for which the stream ends."""
    found = operation("get", "/v1/events:watch")["responses"]["200"]
    assert list(found["content"]) == ["text/event-stream"]
    response, error = found["content"]["text/event-stream"]["schema"]["oneOf"]
    assert response["required"] == ["id", "data"]
    assert response["properties"]["data"]["contentSchema"] == {"$ref": "#/components/schemas/WatchEventsResponse"}
    assert (error["required"], error["properties"]["event"]) == (["event", "data"], {"const": "error"})
    assert error["properties"]["data"]["contentSchema"] == {"$ref": "#/components/schemas/Status"}
    for word in ("`data`", "`id`", "`error`", "Comments"):
        assert word in found["description"]


def test_a_stream_has_headers_of_its_own() -> None:
    """It goes on after Last-Event-ID, and lasts until a given time if the caller wants that."""
    found = operation("get", "/v1/events:watch")
    headers = parameters(found, "header")
    assert set(headers) == {"Registrar-Timeout", "Registrar-On-Behalf-Of", "Last-Event-ID"}
    assert "default" not in headers["Registrar-Timeout"]["schema"]
    assert "default" in parameters(operation("get", "/v1/events"), "header")["Registrar-Timeout"]["schema"]
    assert re.fullmatch(headers["Last-Event-ID"]["schema"]["pattern"], str(2**63 - 1))


def test_only_a_stream_is_refused_to_another_version_of_http() -> None:
    """Everything else has an answer in HTTP/1.0, too."""
    refusing = [path for path, one in DOCUMENT["paths"].items() if "405" in one.get("get", {}).get("responses", {})]
    assert refusing == ["/v1/events:watch"]


def test_callers_send_a_bearer() -> None:
    """A server that identifies callers needs a bearer for every RPC; any server answers probes without one."""
    scheme = DOCUMENT["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert DOCUMENT["security"] == [{"bearer": []}, {}]
    for path, operations in DOCUMENT["paths"].items():
        for found in operations.values():
            is_rpc = path.startswith(("/v1/", "/students/"))
            assert is_rpc == ("security" not in found), path
            assert is_rpc == ("`CREDENTIALS_INVALID`" in found["responses"].get("401", {}).get("description", ""))
            assert is_rpc == ("`ROLE_REQUIRED`" in found["responses"].get("403", {}).get("description", ""))


@pytest.mark.parametrize(
    ("verb", "path", "absent", "present"),
    [
        ("get", "/v1/events", {"404", "409", "412", "415"}, {"200", "400", "413", "503", "504"}),
        ("get", "/v1/events:watch", {"404", "409", "412", "415"}, {"200", "400", "405", "413", "429", "503", "504"}),
        ("get", "/v1/courses/{course_id}", {"412", "415"}, {"404", "429"}),
        ("post", "/v1/students/{student_id}/enroll", {"412"}, {"404", "409", "415", "421"}),
        ("delete", "/v1/courses/{course_id}", {"415"}, {"400", "404", "412"}),
        ("post", "/v1/batchWrite", set(), {"200", "400", "404", "409", "412", "429"}),
    ],
)
def test_an_operation_has_the_statuses_that_it_can_give(
    verb: str, path: str, absent: set[str], present: set[str]
) -> None:
    statuses = set(operation(verb, path)["responses"])
    assert present <= statuses
    assert not absent & statuses


def test_a_refusal_names_its_reasons_and_is_a_status() -> None:
    conflict = operation("post", "/v1/students/{student_id}/enroll")["responses"]["409"]
    assert conflict["description"] == "Conflict: `ALREADY_ENROLLED`, `ALREADY_WAITLISTED`, `CONTENTION`."
    assert conflict["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Status"}
    details = SCHEMAS["Status"]["properties"]["details"]["items"]
    assert {"#/components/schemas/RuleViolations", "#/components/schemas/BatchRefusals"} <= set(references(details))
    assert len(details["oneOf"]) == len(details["discriminator"]["mapping"])
    assert SCHEMAS["ErrorInfo"]["properties"]["@type"]["const"] == "type.googleapis.com/google.rpc.ErrorInfo"


async def test_the_server_answers_with_it(sqlite_url: str) -> None:
    async with serving(sqlite_url, http_listen="127.0.0.1:0") as server:
        answer = await ask(server.http_address, "GET", "/openapi.json")
        head = await ask(server.http_address, "HEAD", "/openapi.json")
        refused = await ask(server.http_address, "POST", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body) == DOCUMENT
    assert (head.status, head.body) == (200, b"")
    assert (refused.status, refused.headers["allow"], refused.reason) == (405, "GET, HEAD", "METHOD_NOT_ALLOWED")


async def test_without_reflection_the_path_is_unknown(sqlite_url: str) -> None:
    async with serving(sqlite_url, http_listen="127.0.0.1:0", reflection=False) as server:
        answer = await ask(server.http_address, "GET", "/openapi.json")
    assert (answer.status, answer.reason) == (404, "PATH_UNKNOWN")
    assert "openapi.json" not in answer.body.decode(), "the answer does not point to itself"


async def test_without_reflection_grpc_has_none_either(sqlite_url: str) -> None:
    async with (
        serving(sqlite_url, reflection=False) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        for name in REFLECTION_SERVICES:
            call: Any = channel.stream_stream(f"/{name}/ServerReflectionInfo")(iter(()))
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/v1/courses/a%0Ab", "/openapi.json/", "/nothing%0A"])
async def test_paths_that_a_router_of_pages_would_answer_itself_are_answered_in_json(
    sqlite_url: str, path: str
) -> None:
    """A router of Starlette matches no line break, and answers a slash too many with a redirect."""
    async with serving(sqlite_url, http_listen="127.0.0.1:0") as server:
        answer = await ask(server.http_address, "GET", path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.reason in ("INVALID_FIELD", "PATH_UNKNOWN")
