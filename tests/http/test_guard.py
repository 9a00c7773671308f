"""Web pages cannot reach the server by accident: the host of a request, its origin and its content type."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.app import StartError, start
from tests.support.servers import Log, Registrar, calling, server_process, serving, settings
from tests.support.web_requests import Headers, WebAnswer, exchange, written

ENROLL = "/v1/students/s-1/enroll"
IN_COURSE = b'{"course_id": "c-1"}'
JSON = {"Content-Type": "application/json"}
PORTAL = "https://portal.example.edu"
EVIL = "https://evil.example"


class Site:
    """A server that serves HTTP, with a student and a course."""

    def __init__(self, address: str, registrar: Registrar, log: Log) -> None:
        self.address = address
        self.registrar = registrar
        self.log = log
        self.port = address.rpartition(":")[2]

    async def send(self, method: str, target: str, headers: Headers, body: bytes = b"", **others: str) -> WebAnswer:
        return await exchange(self.address, written(method, target, headers, body, **others), method)

    async def get(self, host: str, path: str = "/v1/courses/c-1", **headers: str) -> WebAnswer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("GET", path, {"Host": host, **named})

    async def enroll(self, headers: Headers, body: bytes = IN_COURSE, **others: str) -> WebAnswer:
        return await self.send("POST", ENROLL, headers, body, **others)

    async def changes(self) -> int:
        """Return the number of changes in the database."""
        return (await self.registrar.history.ListEvents(ListEventsRequest(page_size=1))).last_revision

    @contextlib.asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Check that a ``with`` block changes nothing in the database."""
        before = await self.changes()
        yield
        assert await self.changes() == before

    def refused(self, answer: WebAnswer, status: int, reason: str) -> None:
        """Check that the last request was refused in JSON, with one line in the log."""
        assert (answer.status, answer.reason) == (status, reason)
        assert answer.headers["content-type"] == "application/json"
        (line,) = self.log.of("http_refused")
        assert (line["status"], line["reason"]) == (status, reason)
        assert line["peer"].startswith("ipv4:127.0.0.1:")
        self.log.lines.clear()


@contextlib.asynccontextmanager
async def site_on(database_url: str, log: Log, **others: Any) -> AsyncIterator[Site]:
    listening = {"http_listen": "127.0.0.1:0", **others}
    async with serving(database_url, **listening) as server, calling(server.address) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_course("c-1", title="Logic", capacity=5)
        yield Site(server.http_address, registrar, log)


@pytest.fixture
async def site(sqlite_url: str, log: Log) -> AsyncIterator[Site]:
    """A server with the default rules: no names and no origins are listed."""
    async with site_on(sqlite_url, log) as found:
        yield found


@pytest.fixture
async def listing_site(sqlite_url: str, log: Log) -> AsyncIterator[Site]:
    """A server that lists names and an origin."""
    hosts = "registrar.example.edu,inside:8443,plain:80,[2001:db8::7]"
    async with site_on(sqlite_url, log, http_hosts=hosts, http_origins=PORTAL) as found:
        yield found


@pytest.fixture(params=["default", "a listed page"])
async def each_site(request: pytest.FixtureRequest, database_url: str, log: Log) -> AsyncIterator[Site]:
    """A server with the default rules, and one that lists the origin of a page, each on both databases."""
    origins = "" if request.param == "default" else PORTAL
    async with site_on(database_url, log, http_origins=origins) as found:
        yield found


class TestAttacks:
    """What a web page can make a browser send, and what programs on other machines pretend."""

    async def test_dns_rebinding(self, each_site: Site) -> None:
        """A page whose name points to this machine sends its own name, and no browser check stops it."""
        headers = {"Host": f"evil.example:{each_site.port}", "Sec-Fetch-Site": "same-origin"}
        async with each_site.unchanged():
            each_site.refused(await each_site.enroll({**headers, **JSON}), 421, "HOST_UNKNOWN")
            each_site.refused(await each_site.send("GET", "/v1/students", headers), 421, "HOST_UNKNOWN")

    async def test_form(self, each_site: Site) -> None:
        """A form of another site is sent without a question, also one that looks like JSON."""
        page = {"Host": each_site.address, "Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
        async with each_site.unchanged():
            answer = await each_site.enroll({**page, "Content-Type": "text/plain"})
            each_site.refused(answer, 403, "ORIGIN_REFUSED")

    async def test_image(self, each_site: Site) -> None:
        """An image of another site has no Origin."""
        page = {"Host": each_site.address, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        async with each_site.unchanged():
            answer = await each_site.send("GET", "/v1/courses/c-1", page)
            each_site.refused(answer, 403, "ORIGIN_REFUSED")

    async def test_deletion(self, each_site: Site) -> None:
        """A page cannot send DELETE without a question, but what pretends to have asked is refused too."""
        page = {"Host": each_site.address, "Origin": EVIL}
        async with each_site.unchanged():
            answer = await each_site.send("DELETE", "/v1/courses/c-1", page)
            each_site.refused(answer, 403, "ORIGIN_REFUSED")

    async def test_preflight(self, each_site: Site) -> None:
        """The question of an unlisted page is refused, without a header that allows anything."""
        page = {"Host": each_site.address, "Origin": EVIL, "Access-Control-Request-Method": "POST"}
        answer = await each_site.send("OPTIONS", ENROLL, page)
        each_site.refused(answer, 403, "ORIGIN_REFUSED")
        assert not [name for name in answer.headers if name.startswith("access-control-")]

    async def test_old_browser(self, each_site: Site) -> None:
        """A browser that sends neither Origin nor Sec-Fetch-Site sends no JSON without a question."""
        async with each_site.unchanged():
            answer = await each_site.enroll({"Host": each_site.address, "Content-Type": "text/plain"})
            each_site.refused(answer, 415, "MEDIA_TYPE_UNSUPPORTED")

    async def test_programs(self, each_site: Site) -> None:
        """A program that is no browser sends none of the headers, and is served."""
        answer = await each_site.enroll({"Host": each_site.address, **JSON})
        assert (answer.status, json.loads(answer.body)["enrollment"]["state"]) == (200, "ENROLLMENT_STATE_ENROLLED")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert not each_site.log.of("http_refused")


class TestHosts:
    """The host that a request names."""

    @pytest.mark.parametrize(
        "host",
        ["localhost", "localhost:{port}", "LocalHost:1", "localhost.", "127.0.0.1:{port}", "[::1]:{port}", "[0::1]"],
    )
    async def test_loopback(self, site: Site, host: str) -> None:
        """The names of loopback are known, with any port, because a tunnel may have another one."""
        assert (await site.get(host.format(port=site.port))).status == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "localhost.evil.example",
            "localhost:{port}.evil.example",
            "evil.example@localhost",
            "localhost@evil.example",
            "127.0.0.2",
            "0.0.0.0:{port}",
            "[::]:{port}",
            "[::1",
            "localhost/",
            "localhost, evil.example",
            "registrar.example.edu",
            "\u00f6rtlich",
            "",
        ],
    )
    async def test_unknown(self, site: Site, host: str) -> None:
        """All other hosts are unknown."""
        async with site.unchanged():
            answer = await site.enroll({"Host": host.format(port=site.port), **JSON})
            site.refused(answer, 421, "HOST_UNKNOWN")
        assert "REGISTRAR_HTTP_HOSTS" in json.loads(answer.body)["message"]

    async def test_missing(self, site: Site) -> None:
        """HTTP 1.0 allows requests without a host; they are refused."""
        async with site.unchanged():
            site.refused(await site.enroll(JSON, version="1.0"), 421, "HOST_UNKNOWN")

    async def test_target_with_host(self, site: Site) -> None:
        """The host of the target takes precedence over the header, so a known header does not hide it."""
        async with site.unchanged():
            headers = {"Host": site.address, **JSON}
            answer = await site.send("POST", f"http://evil.example{ENROLL}", headers, IN_COURSE)
            site.refused(answer, 421, "HOST_UNKNOWN")
            answer = await site.send("POST", f"http://{site.address}@evil.example{ENROLL}", headers, IN_COURSE)
            site.refused(answer, 400, "MALFORMED_HTTP")
        for own in (site.address, f"[::1]:{site.port}"):
            answer = await site.send("GET", f"http://{own}/v1/courses/c-1", {"Host": "evil.example"})
            assert answer.status == 200

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    async def test_probes(self, site: Site, path: str) -> None:
        """Probes use the address of the machine, so any host may ask for their paths, but no page of another site."""
        assert (await site.get("10.0.0.7:8080", path)).status != 421
        site.log.lines.clear()
        site.refused(await site.get("10.0.0.7:8080", path, Origin=EVIL), 403, "ORIGIN_REFUSED")
        site.refused(await site.get("10.0.0.7:8080", f"{path}/v1"), 421, "HOST_UNKNOWN")

    @pytest.mark.parametrize(
        "host",
        [
            "registrar.example.edu",
            "Registrar.Example.EDU.:9",
            "inside:8443",
            "plain",
            "plain:80",
            "[2001:0db8::7]:1",
            "localhost",
        ],
    )
    async def test_listed(self, listing_site: Site, host: str) -> None:
        """A listed name is known with any port, or with the port that is listed; loopback stays known."""
        assert (await listing_site.get(host)).status == 200

    @pytest.mark.parametrize(
        "host", ["inside", "inside:80", "plain:8080", "www.registrar.example.edu", "[2001:db8::8]"]
    )
    async def test_not_listed(self, listing_site: Site, host: str) -> None:
        """Another port, and a name below a listed name, are not listed."""
        listing_site.refused(await listing_site.get(host), 421, "HOST_UNKNOWN")


class TestListening:
    """The address to listen on, and the hosts that it makes known."""

    async def test_own_address(self, sqlite_url: str, log: Log) -> None:
        """The host of the address to listen on is known."""
        async with site_on(sqlite_url, log, http_listen="127.0.0.2:0") as site:
            assert (await site.get(site.address)).status == 200

    async def test_wildcard(self, sqlite_url: str, log: Log) -> None:
        """On all addresses of the machine, only the listed names and loopback are known."""
        listening = {"http_listen": "0.0.0.0:0", "insecure": True, "http_hosts": "registrar.example.edu"}
        async with (
            serving(sqlite_url, identity="required", **listening) as server,
            calling(server.address) as registrar,
        ):
            site = Site(server.http_address, registrar, log)
            for host in ("0.0.0.0", site.address, "192.0.2.7"):
                site.refused(await site.enroll({"Host": host, **JSON}), 421, "HOST_UNKNOWN")
            for host in ("registrar.example.edu", f"localhost:{site.port}"):
                assert (await site.get(host)).reason == "CREDENTIALS_MISSING"

    async def test_taken(self, sqlite_url: str) -> None:
        """A second server needs a port of its own, and its error says so."""
        async with serving(sqlite_url, http_listen="127.0.0.1:0") as server:
            with pytest.raises(StartError) as refusal:
                await start(settings(sqlite_url, http_listen=server.http_address))
        assert str(refusal.value).startswith(f"REGISTRAR_HTTP_LISTEN={server.http_address}: the address is taken")
        assert "A second server on this machine needs its own" in str(refusal.value)

    async def test_off(self, sqlite_url: str, tmp_path: Any) -> None:
        """With an empty address, the server serves no HTTP."""
        async with server_process(sqlite_url, tmp_path, HTTP_LISTEN="") as process:
            assert (await process.logged("server_started"))["http"] == ""


class TestPages:
    """The pages that send requests."""

    @pytest.mark.parametrize(
        "origins", [[EVIL], ["null"], [""], ["http://127.0.0.1:8080"], ["http://localhost:3000"], [EVIL, EVIL]]
    )
    async def test_unlisted(self, site: Site, origins: list[str]) -> None:
        """Without a list, every request with an origin is refused, also one from this machine."""
        async with site.unchanged():
            headers = [("Host", site.address), *JSON.items(), *(("Origin", origin) for origin in origins)]
            site.refused(await site.enroll(headers), 403, "ORIGIN_REFUSED")

    @pytest.mark.parametrize(
        "origin",
        [
            EVIL,
            "null",
            "http://portal.example.edu",
            f"{PORTAL}:8443",
            f"{PORTAL}.evil.example",
            f"{PORTAL}/",
            f"{EVIL},{PORTAL}",
        ],
    )
    async def test_not_the_listed_one(self, listing_site: Site, origin: str) -> None:
        """Only an origin that is equal to a listed one is accepted."""
        async with listing_site.unchanged():
            headers = {"Host": listing_site.address, "Origin": origin, **JSON}
            answer = await listing_site.enroll(headers)
            listing_site.refused(answer, 403, "ORIGIN_REFUSED")
        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize("origins", [[PORTAL, EVIL], [EVIL, PORTAL], [PORTAL, PORTAL]])
    async def test_several_origins(self, listing_site: Site, origins: list[str]) -> None:
        """A browser sends one origin, so a request with several is refused, even if all are listed."""
        async with listing_site.unchanged():
            headers = [("Host", listing_site.address), *JSON.items(), *(("Origin", origin) for origin in origins)]
            listing_site.refused(await listing_site.enroll(headers), 403, "ORIGIN_REFUSED")

    async def test_listed_page_without_origin(self, listing_site: Site) -> None:
        """A request from another site that does not name its page is refused, because any page can send it."""
        answer = await listing_site.get(listing_site.address, Sec_Fetch_Site="cross-site")
        listing_site.refused(answer, 403, "ORIGIN_REFUSED")

    @pytest.mark.parametrize("site_of_page", ["none", "same-origin", "same-site"])
    async def test_no_other_site(self, site: Site, site_of_page: str) -> None:
        """An address that a user typed, for example, comes from no other site."""
        assert (await site.get(site.address, Sec_Fetch_Site=site_of_page)).status == 200

    @pytest.mark.parametrize("origin", [PORTAL, "https://PORTAL.example.edu"])
    async def test_listed(self, listing_site: Site, origin: str) -> None:
        """A listed page may send changes and read the answers, without credentials."""
        page = {"Host": listing_site.address, "Origin": origin, "Sec-Fetch-Site": "cross-site", **JSON}
        answer = await listing_site.enroll(page)
        assert (answer.status, json.loads(answer.body)["enrollment"]["student_id"]) == (200, "s-1")
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-expose-headers"] == "ETag, Retry-After, WWW-Authenticate"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers

    async def test_listed_and_compressed(self, listing_site: Site) -> None:
        """A compressed answer also names what it depends on."""
        for number in range(20):
            await listing_site.registrar.add_course(f"c-1{number}", title="Logic" * 20)
        answer = await listing_site.get(listing_site.address, "/v1/courses", Origin=PORTAL, Accept_Encoding="gzip")
        assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
        assert answer.headers["vary"] == "Accept-Encoding, Origin"

    async def test_refusals_are_readable(self, listing_site: Site) -> None:
        """A listed page can read why its request was refused, by a rule of HTTP or by the server's."""
        page = {"Host": listing_site.address, "Origin": PORTAL}
        form = await listing_site.enroll({**page, "Content-Type": "text/plain"})
        listing_site.refused(form, 415, "MEDIA_TYPE_UNSUPPORTED")
        nowhere = await listing_site.send("GET", "/v1/nowhere", page)
        listing_site.refused(nowhere, 404, "PATH_UNKNOWN")
        host = await listing_site.send("GET", "/v1/courses", {**page, "Host": "evil.example"})
        listing_site.refused(host, 421, "HOST_UNKNOWN")
        method = await listing_site.send("OPTIONS", ENROLL, page)
        listing_site.refused(method, 405, "METHOD_NOT_ALLOWED")
        unknown = await listing_site.send("GET", "/v1/courses/c-9", page)
        assert (unknown.status, unknown.reason) == (404, "COURSE_NOT_FOUND")
        for answer in (form, nowhere, host, method, unknown):
            assert answer.headers["access-control-allow-origin"] == PORTAL
            assert answer.headers["vary"] == "Origin"
        assert method.headers["allow"] == "POST"


class TestPreflights:
    """The question of a browser whether a page of a listed origin may send a request."""

    async def test_allowed(self, listing_site: Site) -> None:
        """The answer lists the methods and the headers of the API, and has no body."""
        question = {
            "Host": listing_site.address,
            "Origin": PORTAL,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,idempotency-key",
        }
        async with listing_site.unchanged():
            answer = await listing_site.send("OPTIONS", ENROLL, question)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == PORTAL
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        own = {"registrar-timeout", "registrar-on-behalf-of"}
        assert set(allowed) == {"content-type", "if-match", "idempotency-key", "authorization", "last-event-id", *own}
        assert answer.headers["vary"] == "Origin"
        assert not {"content-type", "content-length", "access-control-allow-credentials"} & set(answer.headers)
        assert not listing_site.log.of("http_refused")

    async def test_unknown_host(self, listing_site: Site) -> None:
        """The host is checked first."""
        question = {"Host": "evil.example", "Origin": PORTAL, "Access-Control-Request-Method": "POST"}
        answer = await listing_site.send("OPTIONS", ENROLL, question)
        listing_site.refused(answer, 421, "HOST_UNKNOWN")


class TestContentTypes:
    """The types of bodies that a page can send without a question."""

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "text/plain; charset=application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "application/json; charset=latin-1",
            "application/jsonp",
            "",
            None,
        ],
    )
    @pytest.mark.parametrize("body", [IN_COURSE, b""])
    @pytest.mark.parametrize(("method", "path"), [("POST", ENROLL), ("PATCH", "/v1/courses/c-1")])
    async def test_refused(self, site: Site, kind: str | None, body: bytes, method: str, path: str) -> None:
        """Each is refused, also without a body."""
        headers = {"Host": site.address} | ({} if kind is None else {"Content-Type": kind})
        async with site.unchanged():
            answer = await site.send(method, path, headers, body)
            site.refused(answer, 415, "MEDIA_TYPE_UNSUPPORTED")

    async def test_several(self, site: Site) -> None:
        """A request with several types is refused, whichever comes first."""
        for kinds in (["application/json", "text/plain"], ["text/plain", "application/json"]):
            headers = [("Host", site.address), *(("Content-Type", kind) for kind in kinds)]
            async with site.unchanged():
                site.refused(await site.enroll(headers), 415, "MEDIA_TYPE_UNSUPPORTED")

    @pytest.mark.parametrize(
        "kind", ["application/json", "Application/JSON; Charset=UTF-8", 'application/json;charset="utf-8"']
    )
    async def test_accepted(self, site: Site, kind: str) -> None:
        """JSON in UTF-8 is accepted, however it is written."""
        assert (await site.enroll({"Host": site.address, "Content-Type": kind})).status == 200
