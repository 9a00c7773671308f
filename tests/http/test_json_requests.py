"""How path, query, headers and body become a request, and what is refused: by the name of each field, all at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar_server.errors import Reason, Refusal
from registrar_server.http.json_requests import MAX_PARTS, read_request
from registrar_server.http.json_values import MAX_ENTRIES, MAX_FAULTS, MAX_TEXT_LENGTH
from registrar_server.http.routes import Router, all_routes
from registrar_server.rpc import status
from tests.support.history_calls import history
from tests.support.http_calls import HttpCaller
from tests.support.servers import Registrar

ROUTER = Router(all_routes(), described=True)
INT32 = "must be a whole number from -2147483648 to 2147483647"
MANY_PARTS = f"must have fewer than {MAX_PARTS} values and escaped characters"
UUID = "5f0c1a4e-6b3d-4d0c-9a3e-0f6d3f8c2b11"
ETAG = 'must be one etag in quotes, as the ETag header has it, or *, not "{}"'


def read(verb: str, path: str, body: Any = None, *, query: str = "", **headers: str) -> Any:
    """Return the request that the server reads."""
    match = ROUTER.find(verb, path.encode())
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return read_request(match, query.encode(), {name.replace("_", "-"): text for name, text in headers.items()}, data)


def faults(verb: str, path: str, body: Any = None, *, query: str = "", **headers: str) -> dict[str, str]:
    """Return the faults of a request that is refused."""
    with pytest.raises(Refusal) as caught:
        read(verb, path, body, query=query, **headers)
    assert caught.value.reason == Reason.INVALID_FIELD
    assert len(status.of_refusal(caught.value).message.SerializeToString()) < 8192
    return dict(caught.value.fields)


def course(body: Any) -> Any:
    return read("POST", "/v1/courses", body).course


def course_faults(body: Any) -> dict[str, str]:
    return faults("POST", "/v1/courses", body)


def nested(inner: Any) -> Any:
    names = st.sampled_from(["meetings", "weekdays", "capacity", "title", "override", "rules", "state", "startTime"])
    return st.lists(inner) | st.dictionaries(names | st.text(), inner)


class TestBody:
    """The body."""

    @pytest.mark.parametrize("name", ["course_id", "courseId"])
    def test_spelling(self, name: str) -> None:
        """A field may have the name of the proto or that of JSON."""
        assert read("POST", "/v1/students/s/enroll", {name: "c"}).course_id == "c"

    @pytest.mark.parametrize("values", [("c", "c"), ("c", None), (None, "c")])
    def test_both_spellings(self, values: tuple[Any, Any]) -> None:
        """A field in both spellings is refused, whatever its values are."""
        body = dict(zip(("course_id", "courseId"), values, strict=True))
        expected = {"course_id": "is given twice, as course_id and as courseId"}
        assert faults("POST", "/v1/students/s/enroll", body) == expected

    def test_all_faults_at_once(self) -> None:
        """One refusal names every value that does not fit, by its path."""
        body = {
            "capacity": "many",
            "title": 5,
            "creditz": "3",
            "enrollOpenTime": "yesterday",
            "meetings": [{"weekdays": ["MONDAY", "someday"]}, None, {"startTime": {"hours": True}}],
            "prerequisite_course_ids": "a",
        }
        weekdays = "MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY"
        assert course_faults(body) == {
            "course.capacity": f'{INT32}, not "many"',
            "course.title": "must be a string, not 5",
            "course.creditz": "is no field of Course; credits is one",
            "course.enroll_open_time": 'must be a time, such as 2026-08-24T09:00:00Z, not "yesterday"',
            "course.meetings[0].weekdays[1]": f'must be one of DAY_OF_WEEK_UNSPECIFIED, {weekdays}, not "someday"',
            "course.meetings[1]": "must be a JSON object, not null",
            "course.meetings[2].start_time.hours": f"{INT32}, not true",
            "course.prerequisite_course_ids": 'must be a JSON array, not "a"',
        }

    @pytest.mark.parametrize(
        ("text", "value"), [("7", 7), ("7.0", 7), ("1e3", 1000), ('"7"', 7), ("-0", 0), ("2147483647", 2**31 - 1)]
    )
    def test_whole_number(self, text: str, value: int) -> None:
        """A whole number may be written in every way that JSON has, and as a string."""
        assert course(b'{"capacity": %b}' % text.encode()).capacity == value

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("true", "true"),
            ("1.5", "1.5"),
            ("2147483648", "2147483648"),
            ("1e999", "inf"),
            ('"1.0"', '"1.0"'),
            ('" 1"', '" 1"'),
            ('"٣"', '"\\u0663"'),
            ("[]", "an array"),
            ("{}", "an object"),
            ("1" * 100_000, "1" * 40),
        ],
        ids=lambda text: text[:12],
    )
    def test_no_whole_number(self, text: str, shown: str) -> None:
        """Other values are refused and shown, shortened."""
        assert course_faults(f'{{"capacity": {text}}}'.encode()) == {"course.capacity": f"{INT32}, not {shown}"}

    def test_null(self) -> None:
        """Null is the same as nothing."""
        found = course({"capacity": None, "title": None, "meetings": None, "state": None, "enroll_open_time": None})
        assert not found.ListFields()

    @pytest.mark.parametrize("value", ["COURSE_STATE_CANCELLED", 2, 2.0])
    def test_enum(self, value: Any) -> None:
        """A member of an enum is named, or given by its number."""
        assert course({"state": value}).state == 2

    @pytest.mark.parametrize("value", ["CANCELLED", "2", True, 10**12, 1.5, [2]])
    def test_no_enum(self, value: Any) -> None:
        """Other values are refused with the names of the members."""
        expected = "must be one of COURSE_STATE_UNSPECIFIED, COURSE_STATE_OPEN, COURSE_STATE_CANCELLED, not "
        assert course_faults({"state": value})["course.state"].startswith(expected)

    @pytest.mark.parametrize(
        "text", ["2026-08-24T09:00:00Z", "2026-08-24T11:30:00.000+02:30", "2026-08-23T23:00:00-10:00"]
    )
    def test_time(self, text: str) -> None:
        """A time has a zone."""
        assert course({"enroll_open_time": text}).enroll_open_time.ToJsonString() == "2026-08-24T09:00:00Z"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2026-08-24T09:00:00",
            "2026-08-24 09:00:00Z",
            "2026-8-24T09:00:00Z",
            "2026-08-24T09:00:00.Z",
            "2026-08-24T09:00:00.2e5Z",
            "2026-08-24T09:00:00.2e500Z",
            "2026-08-24T09:00:00+1:00",
            "2026-13-24T09:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "٢٠٢٦-08-24T09:00:00Z",
        ],
    )
    def test_no_time(self, text: str) -> None:
        """What is not RFC 3339, or not in the years from 1 to 9999, is refused."""
        assert course_faults({"enroll_open_time": text})["course.enroll_open_time"].startswith(
            "must be a time, such as"
        )

    @pytest.mark.parametrize("text", ["\\ud800", "a\\udc00b"])
    def test_half_a_character(self, text: str) -> None:
        """Half of a surrogate pair is no text, in a value or in a name."""
        found = course_faults(f'{{"title": "{text}", "{text}": 1}}'.encode())
        assert found == {
            "course.title": f'must be a string, not "{text}"',
            f'course."{text}"': "is no field of Course",
        }

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"{", "must be valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            (b"{} {}", "must be valid JSON: Extra data: line 1 column 4 (char 3)"),
            (b'{"capacity": NaN}', "must be valid JSON: NaN is no JSON number"),
            (b'{"capacity": -Infinity}', "must be valid JSON: -Infinity is no JSON number"),
            (b'{"a": 1, "a": 1}', 'must be valid JSON: an object has two members "a"'),
            (b'{"title": "\xff"}', "must be valid JSON: it is not UTF-8"),
            ("{}".encode("utf-16"), "must be valid JSON: it is not UTF-8"),
            (b"\xef\xbb\xbf{}", "must be valid JSON: it begins with a byte order mark"),
            (b"[" * 4_000_000, "must be valid JSON: it is nested too deeply"),
            (b'{"a":' * 800_000, "must be valid JSON: it is nested too deeply"),
            (b"[" + b"1," * MAX_PARTS + b"1]", MANY_PARTS),
            (b'{"title": "' + rb"\u00e9" * MAX_PARTS + b'"}', MANY_PARTS),
            (b" ", "must be valid JSON: Expecting value: line 1 column 2 (char 1)"),
        ],
        ids=lambda value: str(value[:20]),
    )
    def test_no_json(self, body: bytes, expected: str) -> None:
        """A body that is no JSON is refused, and the refusal says where."""
        assert course_faults(body) == {"body": expected}

    @pytest.mark.parametrize("body", [b"null", b"[]", b"5", b'"x"', b"true"])
    def test_no_object(self, body: bytes) -> None:
        """A body that is no object is refused."""
        (found,) = course_faults(body).items()
        assert found[0] == "course"
        assert found[1].startswith("must be a JSON object, not ")
        assert faults("POST", "/v1/students/s/enroll", body) == {"body": found[1]}

    def test_many_faults(self) -> None:
        """A refusal names a limited number of faults, and its size is limited."""
        assert len(course_faults({f"field{number}": 1 for number in range(10_000)})) == MAX_FAULTS

    def test_long_name(self) -> None:
        """A long name is shortened."""
        expected = {f'course."{"k" * 40}..."': "is no field of Course"}
        assert course_faults({"k" * 4_000_000: 1}) == expected

    def test_long_text(self) -> None:
        """A text has a limited length, besides that of its field."""
        expected = {"course.title": f"must have at most {MAX_TEXT_LENGTH} characters, has {MAX_TEXT_LENGTH + 1}"}
        assert course_faults({"title": "x" * (MAX_TEXT_LENGTH + 1)}) == expected
        assert len(course({"title": "x" * MAX_TEXT_LENGTH}).title) == MAX_TEXT_LENGTH

    def test_long_array(self) -> None:
        """An array has a limited number of entries."""
        expected = {"course.prerequisite_course_ids": f"must have at most {MAX_ENTRIES} entries, has {MAX_ENTRIES + 1}"}
        assert course_faults({"prerequisite_course_ids": ["a"] * (MAX_ENTRIES + 1)}) == expected

    @pytest.mark.parametrize(("verb", "path"), [("GET", "/v1/courses"), ("DELETE", "/v1/courses/x")])
    def test_where_none_belongs(self, verb: str, path: str) -> None:
        """A body of a GET or DELETE is refused."""
        expected = {"body": f"must be empty: a {verb} of this path has no body"}
        assert faults(verb, path, {}) == expected

    def test_empty(self) -> None:
        """An empty body sets no field."""
        assert not read("POST", "/v1/courses", b"").ListFields()
        assert read("POST", "/v1/students/s/enroll", b"").student_id == "s"

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), nested, max_leaves=20))
    def test_anything(self, body: Any) -> None:
        """Whatever JSON a body has, it is read or refused."""
        for path in ("/v1/courses", "/v1/students", "/v1/students/s/enroll", "/v1/students/s/swap"):
            try:
                read("POST", path, body)
            except Refusal as refusal:
                status.of_refusal(refusal)


class TestQuery:
    """The query."""

    def test_filters(self) -> None:
        """Repeated fields, enums, times and booleans are read from texts."""
        query = (
            "states=ENROLLMENT_STATE_DROPPED&states=1&update_time_after=2026-08-24T09:00:00%2B02:00&showDeleted=true"
        )
        found = read("GET", "/v1/enrollments", query=query + "&page_size=7&term=Fall+2026")
        assert (list(found.states), found.show_deleted, found.page_size, found.term) == ([3, 1], True, 7, "Fall 2026")
        assert found.update_time_after.ToJsonString() == "2026-08-24T07:00:00Z"

    def test_nested(self) -> None:
        """Dots lead to the fields of a message."""
        query = "course_id=c&override.rules=ERROR_REASON_COURSE_FULL&override.rules=22&override.reason=a%26b"
        found = read("DELETE", "/v1/students/s/unenroll", query=query)
        assert (list(found.override.rules), found.override.reason) == ([21, 22], "a&b")

    @pytest.mark.parametrize("mask", ["given_name,max_credits", "givenName,maxCredits", "given_name, maxCredits"])
    def test_mask(self, mask: str) -> None:
        """A mask has the names of the proto or those of JSON."""
        found = read("PATCH", "/v1/students/s", {}, query=f"update_mask={mask.replace(' ', '%20')}")
        assert list(found.update_mask.paths) == ["given_name", "max_credits"]

    @pytest.mark.parametrize("mask", ["given__name", "_x", "a,,b", "*", "a_", "A"])
    def test_no_mask(self, mask: str) -> None:
        """A mask of anything else is refused."""
        expected = {"update_mask": f'must be the names of fields, separated by commas, not "{mask}"'}
        assert faults("PATCH", "/v1/students/s", {}, query=f"update_mask={mask}") == expected

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("student_id=a&studentId=a", {"student_id": "is given twice, as student_id and as studentId"}),
            ("student_id=a&student_id=a", {"student_id": "is given 2 times"}),
            ("studentid=a", {"studentid": "is no field of ListEnrollmentsRequest; student_id is one"}),
            ("student_id.x=a", {"student_id.x": "is no field: student_id has none"}),
            ("states.x=a", {"states.x": "is no field: states has none"}),
            (".=a&=b", {".": "is no field of ListEnrollmentsRequest", '""': "is no field of ListEnrollmentsRequest"}),
            ("page_size=1e3", {"page_size": f'{INT32}, not "1e3"'}),
            ("page_size=", {"page_size": f'{INT32}, not ""'}),
            (f"page_size={'1' * 100_000}", {"page_size": f'{INT32}, not "{"1" * 40}..."'}),
            ("show_deleted=1", {"show_deleted": 'must be true or false, not "1"'}),
            ("show_deleted", {"show_deleted": 'must be true or false, not ""'}),
            ("term=%FF", {"query": "must be UTF-8, percent-encoded"}),
            ("states=1&" * (MAX_ENTRIES + 1), {"states": f"must have at most {MAX_ENTRIES} entries, has 1001"}),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_faults(self, query: str, expected: dict[str, str]) -> None:
        """What is no field, or no value of it, is refused by its name."""
        assert faults("GET", "/v1/enrollments", query=query) == expected

    def test_many_parameters(self) -> None:
        """Any number of unknown parameters has a bounded refusal."""
        assert len(faults("GET", "/v1/courses", query="&".join(f"x{place}=1" for place in range(10_000)))) == MAX_FAULTS

    @pytest.mark.parametrize(
        ("verb", "path", "name"),
        [
            ("POST", "/v1/students/s/enroll", "course_id"),
            ("POST", "/v1/courses", "course.title"),
            ("PATCH", "/v1/courses/c", "course.title"),
        ],
    )
    def test_what_belongs_in_the_body(self, verb: str, path: str, name: str) -> None:
        """A field of the body is refused in the query."""
        expected = {name: "must be in the body, not in the query"}
        assert faults(verb, path, {}, query=f"{name}=x") == expected

    def test_message(self) -> None:
        """A parameter that has fields of its own is refused."""
        expected = {"override": "has fields of its own: name one of them, with override. before it"}
        assert faults("DELETE", "/v1/students/s/unenroll", query="override=x") == expected


class TestPath:
    """A field of the path elsewhere in the request."""

    @pytest.mark.parametrize("student_id", ["s", "", None])
    def test_agrees(self, student_id: str | None) -> None:
        """The body may repeat a field of the path, or leave it empty."""
        found = read("POST", "/v1/students/s/enroll", {"student_id": student_id, "course_id": "c"})
        assert found.student_id == "s"

    def test_differs(self) -> None:
        """The body must not contradict the path, and neither must the query."""
        expected = {"student_id": 'is given twice, as "x" and as "s"'}
        assert faults("POST", "/v1/students/s/enroll", {"student_id": "x"}) == expected
        expected = {"student.student_id": 'is given twice, as "x" and as "s"'}
        assert faults("PATCH", "/v1/students/s", {"student_id": "x"}) == expected
        expected = {"student_id": 'is given twice, as "s" and as "x"'}
        assert faults("GET", "/v1/students/s", query="student_id=x") == expected

    def test_nested_instead(self) -> None:
        """A value of another type in the body is refused as such."""
        body = b'{"student_id": ' + b'{"a":' * 500 + b"1" + b"}" * 501
        assert faults("POST", "/v1/students/s/enroll", body) == {"student_id": "must be a string, not an object"}


class TestHeaders:
    """Idempotency-Key and If-Match."""

    @pytest.mark.parametrize("key", [UUID, f'"{UUID}"', f" {UUID} "])
    def test_key(self, key: str) -> None:
        """Idempotency-Key is ``request_id``, in quotes or without."""
        assert read("POST", "/v1/courses", {}, idempotency_key=key).request_id == UUID
        assert read("DELETE", "/v1/courses/c", idempotency_key=key).request_id == UUID

    def test_key_and_body(self) -> None:
        """Header and body must agree."""
        path = "/v1/students/s/enroll"
        assert read("POST", path, {"request_id": UUID}, idempotency_key=UUID).request_id == UUID
        assert read("POST", path, {"request_id": ""}, idempotency_key=UUID).request_id == UUID
        expected = {"request_id": f'is given twice, as "x" and as "{UUID}"'}
        assert faults("POST", path, {"request_id": "x"}, idempotency_key=UUID) == expected
        assert faults("DELETE", "/v1/courses/c", query="requestId=x", idempotency_key=UUID) == expected

    @pytest.mark.parametrize("key", ["", " ", '""'])
    def test_empty_key(self, key: str) -> None:
        """An empty key is refused: its caller believes that the call is safe to repeat."""
        assert faults("POST", "/v1/courses", {}, idempotency_key=key) == {"Idempotency-Key": "must be a UUID"}

    @pytest.mark.parametrize(
        ("verb", "path", "read_etag"),
        [
            ("PATCH", "/v1/students/s", lambda request: request.student.etag),
            ("PATCH", "/v1/courses/c", lambda request: request.course.etag),
            ("DELETE", "/v1/courses/c", lambda request: request.etag),
            ("POST", "/v1/enrollments/e:void", lambda request: request.etag),
            ("POST", "/v1/students/s/complete", lambda request: request.etag),
        ],
    )
    def test_if_match(self, verb: str, path: str, read_etag: Any) -> None:
        """If-Match is the etag of the change; ``*`` matches any version."""
        body = {"etag": "e/1"} if verb != "DELETE" else None
        assert read_etag(read(verb, path, if_match='"e/1"')) == "e/1"
        assert read_etag(read(verb, path, body, if_match='"e/1"')) == "e/1"
        assert read_etag(read(verb, path, if_match="*")) == ""

    def test_if_match_and_body(self) -> None:
        """Header and body must agree."""
        expected = {"student.etag": 'is given twice, as "a" and as "b"'}
        assert faults("PATCH", "/v1/students/s", {"etag": "a"}, if_match='"b"') == expected

    @pytest.mark.parametrize("etag", ["", "a", 'W/"a"', '"a", "b"', '""', '"'])
    def test_no_etag(self, etag: str) -> None:
        """A weak etag, several, or none are refused."""
        shown = ETAG.format(etag.replace('"', '\\"'))
        assert faults("DELETE", "/v1/courses/c", if_match=etag) == {"If-Match": shown}

    def test_where_they_do_not_apply(self) -> None:
        """A header that a method cannot heed is refused."""
        expected = {"Idempotency-Key": "does not apply to GetCourse", "If-Match": "does not apply to GetCourse"}
        assert faults("GET", "/v1/courses/c", idempotency_key=UUID, if_match='"a"') == expected
        expected = {"If-Match": "does not apply to CreateCourse"}
        assert faults("POST", "/v1/courses", {}, if_match='"a"') == expected

    def test_if_none_match(self) -> None:
        """A read may have If-None-Match, which is ignored. A change that has it is refused."""
        assert read("GET", "/v1/courses/c", if_none_match='"a"').course_id == "c"
        expected = {"If-None-Match": "is not supported; a change takes If-Match"}
        assert faults("PATCH", "/v1/courses/c", if_none_match="*") == expected


class TestServer:
    """What a client sees."""

    @pytest.mark.parametrize(
        "body",
        [
            b'{"capacity": ' + b"9" * 100_000 + b"}",
            b'{"title": "' + b"x" * 4_000_000 + b'"}',
            b'{"title": "\\ud800"}',
            b"[" * 1_000_000,
            b'{"meetings": [' + b'{"weekdays": [1]},' * 900 + b"{}]}",
            b"\xff",
        ],
        ids=["number", "text", "surrogate", "nested", "meetings", "bytes"],
    )
    async def test_rude_bodies(self, both: tuple[HttpCaller, Registrar], body: bytes) -> None:
        """A rude body is refused as an invalid field, and nothing is written."""
        http, registrar = both
        before = await history(registrar)
        answer = await http.send("POST", "/v1/courses", body)
        assert (answer.status, answer.reason) == (400, "INVALID_FIELD")
        assert answer.faults
        assert await history(registrar) == before

    async def test_large_query(self, http: HttpCaller) -> None:
        """A query with many parameters is refused."""
        answer = await http.send("GET", "/v1/courses?" + "&".join(f"x{place}=1" for place in range(3000)))
        assert (answer.status, answer.reason) == (400, "INVALID_FIELD")

    async def test_repeated_header(self, http: HttpCaller) -> None:
        """A header that is given twice is not cut to its first value."""
        head = f"DELETE /v1/courses/CS-101 HTTP/1.1\r\nHost: {http.address}\r\n"
        answer = await http.send_bytes(f'{head}If-Match: "a"\r\nIf-Match: "b"\r\n\r\n'.encode())
        assert answer.faults == {"If-Match": ETAG.format('\\"a\\", \\"b\\"')}

    async def test_etag(self, http: HttpCaller) -> None:
        """The ETag of an answer is the If-Match of a change. A stale one is refused with 412, ``*`` never."""
        path = "/v1/students/s-1"
        etag = (await http.call("GET", path)).headers["etag"]
        assert (await http.call("PATCH", path, {"given_name": "A"}, if_match=etag)).status == 200
        stale = await http.call("PATCH", path, {"given_name": "B"}, if_match=etag)
        assert (stale.status, stale.reason) == (412, "ETAG_MISMATCH")
        assert (await http.call("PATCH", path, {"given_name": "B"}, if_match="*")).status == 200

    async def test_replay(self, both: tuple[HttpCaller, Registrar]) -> None:
        """A repeated Idempotency-Key has the first answer, also for a caller of gRPC; other content is refused."""
        http, registrar = both
        path = "/v1/students/s-1/enroll"
        first = await http.call("POST", path, {"course_id": "CS-101"}, idempotency_key=UUID)
        again = await http.call("POST", path, {"course_id": "CS-101"}, idempotency_key=UUID)
        assert first.status == again.status == 200
        assert first.json == again.json
        over_grpc = await registrar.enroll("s-1", "CS-101", request_id=UUID)
        assert over_grpc.enrollment_id == first.json["enrollment"]["enrollment_id"]
        other = await http.call("POST", path, {"course_id": "CS-102"}, idempotency_key=UUID)
        assert (other.status, other.reason) == (400, "REQUEST_ID_REUSED")
