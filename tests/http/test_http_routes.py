"""Which path leads to which RPC: paths are split as they come, and decoded per segment."""

from __future__ import annotations

import itertools

import pytest

from registrar_server.http.refusals import HttpReason, HttpRefusal
from registrar_server.http.routes import MAX_PARTS, Router, all_routes
from registrar_server.rpc.table import METHODS
from tests.support.http_calls import HttpCaller

ROUTER = Router(all_routes(), described=True)


def found(verb: str, path: str | bytes) -> tuple[str, dict[str, str]]:
    match = ROUTER.find(verb, path.encode() if isinstance(path, str) else path)
    return match.route.method.name, dict(match.fields)


def refused(verb: str, path: str | bytes) -> HttpRefusal:
    with pytest.raises(HttpRefusal) as caught:
        found(verb, path)
    return caught.value


@pytest.mark.parametrize(
    ("verb", "path", "name", "fields"),
    [
        ("GET", "/v1/courses/a:b", "GetCourse", {"course_id": "a:b"}),
        ("GET", "/v1/courses/x:settle", "GetCourse", {"course_id": "x:settle"}),
        ("POST", "/v1/courses/x:settle", "SettleCourse", {"course_id": "x"}),
        ("POST", "/v1/courses/a:b:settle", "SettleCourse", {"course_id": "a:b"}),
        ("POST", "/v1/courses/a:settle:undelete", "UndeleteCourse", {"course_id": "a:settle"}),
        ("DELETE", "/v1/courses/x:undelete", "DeleteCourse", {"course_id": "x:undelete"}),
        ("GET", "/v1/courses/x%3Asettle", "GetCourse", {"course_id": "x:settle"}),
        ("POST", "/v1/courses/x%3Ay:settle", "SettleCourse", {"course_id": "x:y"}),
        ("GET", "/v1/courses/a%2Fb", "GetCourse", {"course_id": "a/b"}),
        ("GET", "/v1/courses/a%2Fb/roster", "ListRoster", {"course_id": "a/b"}),
        ("GET", "/v1/courses/a+b%20c", "GetCourse", {"course_id": "a+b c"}),
        ("GET", "/v1/courses/a%252F", "GetCourse", {"course_id": "a%2F"}),
        ("GET", "/v1/courses/100%", "GetCourse", {"course_id": "100%"}),
        ("GET", "/v1/courses/..", "GetCourse", {"course_id": ".."}),
        ("GET", "/v1/courses/%C3%A9", "GetCourse", {"course_id": "é"}),
        ("GET", "/%761/courses/x", "GetCourse", {"course_id": "x"}),
        ("GET", f"/v1/courses/{'x' * 8192}", "GetCourse", {"course_id": "x" * 8192}),
        ("HEAD", "/v1/courses/x", "GetCourse", {"course_id": "x"}),
        ("DELETE", "/v1/students/s/holds/A%2FB:C", "ReleaseHold", {"student_id": "s", "code": "A/B:C"}),
        ("PATCH", "/v1/students/s", "UpdateStudent", {"student.student_id": "s"}),
        ("POST", "/students/s/enroll", "EnrollStudent", {"student_id": "s"}),
    ],
)
def test_path(verb: str, path: str, name: str, fields: dict[str, str]) -> None:
    """An encoded slash or colon is part of an id, and a verb counts only where a method has it."""
    assert found(verb, path) == (name, fields)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/v1",
        "/v2/courses",
        "/v1/course",
        "/V1/courses",
        "/v1/courses/x/y",
        "/v1/courses/x:y/roster/",
        "/v1/./courses",
        "/v1/courses/x/../roster",
        "/courses",
        "/v1/students/s/enroll:now",
        "/v1/students/s/enroll" + "/x" * 20_000,
    ],
)
def test_unknown_path(path: str) -> None:
    """A path that no RPC has is refused for every method alike."""
    assert {refused(verb, path).reason for verb in ("GET", "HEAD", "POST", "TRACE")} == {HttpReason.PATH_UNKNOWN}


@pytest.mark.parametrize("path", ["//v1/courses", "/v1//courses", "/v1/courses/", "/v1/students//courses"])
def test_empty_part(path: str) -> None:
    """A path with an empty part is unknown, and the refusal says why."""
    refusal = refused("GET", path)
    assert refusal.reason == HttpReason.PATH_UNKNOWN
    assert refusal.message.endswith("A part between two slashes, or after the last one, is empty.")


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("PUT", "/v1/courses", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/courses/x", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/v1/courses/x", "DELETE, GET, HEAD, PATCH"),
        ("POST", "/v1/courses/x%3Asettle", "DELETE, GET, HEAD, PATCH"),
        ("PUT", "/v1/courses/x:settle", "DELETE, GET, HEAD, PATCH, POST"),
        ("GET", "/v1/students/s/enroll", "POST"),
        ("HEAD", "/v1/students/s/enroll", "POST"),
        ("POST", "/students/s/unenroll", "DELETE"),
        ("POST", "/v1/courses/:settle", "DELETE, GET, HEAD, PATCH"),
        ("TRACE", "/v1/events", "GET, HEAD"),
    ],
)
def test_wrong_method(verb: str, path: str, allowed: str) -> None:
    """A method that the path does not have is refused, and the header Allow lists those that it has."""
    refusal = refused(verb, path)
    assert (refusal.reason, refusal.headers) == (HttpReason.METHOD_NOT_ALLOWED, {"allow": allowed})


@pytest.mark.parametrize("path", [b"/v1/courses/%FF", b"/v1/%C3/x", b"/v1/courses/\xff"])
def test_not_utf_8(path: bytes) -> None:
    """A path that is not UTF-8 is refused."""
    assert refused("GET", path).reason == HttpReason.MALFORMED_HTTP


def test_every_rpc_has_a_route() -> None:
    """Every row of the table of RPCs can be called."""
    rows = {method.name for methods in METHODS.values() for method in methods.values()}
    assert {route.method.name for route in ROUTER.routes} == rows


def test_every_route_has_few_parts() -> None:
    """A path is split into enough parts for every route."""
    assert max(len(route.segments) for route in all_routes()) < MAX_PARTS


def test_no_route_hides_another() -> None:
    """No path leads to two routes."""
    for one, other in itertools.combinations(ROUTER.routes, 2):
        alike = (one.verb, one.custom_verb, len(one.segments)) == (other.verb, other.custom_verb, len(other.segments))
        pairs = zip(one.segments, other.segments, strict=False)
        assert not (alike and all(left == right or "{" in left + right for left, right in pairs)), (one, other)


async def test_refusals_are_json(http: HttpCaller) -> None:
    """An unknown path and a wrong method are answered with a status in JSON and their reasons."""
    unknown = await http.call("GET", "/v1/nothing")
    assert (unknown.status, unknown.reason) == (404, "PATH_UNKNOWN")
    wrong = await http.call("DELETE", "/v1/courses")
    assert (wrong.status, wrong.reason, wrong.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "GET, HEAD, POST")
    assert (await http.call("OPTIONS", "/v1/courses")).status == 405
    assert (await http.send("GET", b"/v1/courses/%FF")).reason == "MALFORMED_HTTP"


@pytest.mark.parametrize(
    "path", ["/v1/courses/CS-101", "/v1/courses/nothing", "/v1/nothing", "/v1/students/s-1/enroll"]
)
async def test_head(http: HttpCaller, path: str) -> None:
    """HEAD is answered as GET, without the body, also if it is refused."""
    get, head = await http.call("GET", path), await http.call("HEAD", path)
    assert head.raw == b""
    assert (head.status, {**head.headers, "date": ""}) == (get.status, {**get.headers, "date": ""})


async def test_dots_are_not_resolved(http: HttpCaller) -> None:
    """Two dots are an id, which no course has, and no way to another path."""
    answer = await http.send("GET", "/v1/students/../courses")
    assert answer.faults == {"student_id": 'must match [A-Za-z0-9_][A-Za-z0-9._~@+:-]{0,127}: ".." begins with "."'}
