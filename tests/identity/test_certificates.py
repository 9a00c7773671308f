"""Callers who are known by their certificates: roles by full subject alternative names, never by common names."""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from grpc.aio import AioRpcError, secure_channel

from registrar.v1.course_service_pb2 import GetCourseRequest
from registrar.v1.enrollment_pb2 import Override
from registrar.v1.enrollment_service_pb2 import EnrollStudentRequest
from registrar.v1.error_reason_pb2 import ERROR_REASON_ENROLLMENT_CLOSED
from registrar.v1.history_service_pb2 import ListEventsRequest
from registrar_server.app import Server, StartError, start
from registrar_server.errors import Refusal
from registrar_server.identity.callers import Caller, Permission, Role, with_contained
from registrar_server.identity.certificate_roles import CertificateRoles
from registrar_server.settings import SettingsError
from tests.support.certificates import Authority, Pair
from tests.support.raw_connections import connected, request, serving_http
from tests.support.refusals import Failure, refused
from tests.support.servers import OPTIONS, Log, Registrar, over, serving, settings

AUTHORITY = Authority()
ROLES = """
[[certificates]]
san = "URI:spiffe://campus/sis"
name = "sis"
roles = ["admin"]
override = true
on_behalf_of = true

[[certificates]]
san = "DNS:portal.example.edu"
roles = ["reader"]

[[certificates]]
san = "IP:2001:db8::0:1"
name = "kiosk"
roles = ["registrar"]

[[certificates]]
san = "email:batch@example.edu"
roles = ["registrar", "reader"]
"""
SIS = Caller("cert:sis", with_contained([Role.ADMIN]), frozenset(Permission))
PORTAL = Caller("cert:portal.example.edu", with_contained([Role.READER]))


def make_files(folder: Path, roles: str = ROLES) -> dict[str, Any]:
    """Write the files of a server that knows callers by certificates, and return its settings."""
    files = {
        "tls_cert_file": folder / "server.pem",
        "tls_key_file": folder / "server-key.pem",
        "tls_client_ca_file": folder / "authority.pem",
        "cert_roles": folder / "roles.toml",
    }
    AUTHORITY.issue("DNS:localhost", "IP:127.0.0.1").write(files["tls_cert_file"], files["tls_key_file"])
    files["tls_client_ca_file"].write_bytes(AUTHORITY.pem)
    files["cert_roles"].write_text(roles)
    return files


@contextlib.asynccontextmanager
async def calling_with(server: Server, pair: Pair | None) -> AsyncIterator[Registrar]:
    """Return stubs over a connection of its own, with or without a client certificate."""
    async with secure_channel(server.address, AUTHORITY.as_client(pair), OPTIONS) as channel:
        yield over(channel)


def roles_of(tmp_path: Path, text: str = ROLES) -> CertificateRoles:
    file = tmp_path / "roles.toml"
    file.write_text(text)
    return CertificateRoles(file)


CERTIFICATES = {
    "none": None,
    "without an entry": AUTHORITY.issue("DNS:other.example.edu"),
    "with an entry": AUTHORITY.issue("DNS:sis-1.example.edu", "URI:spiffe://campus/sis"),
    "with two entries": AUTHORITY.issue("URI:spiffe://campus/sis", "DNS:portal.example.edu"),
    "with a common name only": AUTHORITY.issue(common_name="portal.example.edu"),
    "that has expired": AUTHORITY.issue("URI:spiffe://campus/sis", ended=True),
    "of another authority": Authority().issue("URI:spiffe://campus/sis"),
}
UNREACHED = "no connection"
"""The outcome of a client that the handshake refuses."""
BEARERS = {"no bearer": [], "a wrong bearer": [("authorization", "Bearer rk_00_00")]}
OUTCOMES = {
    ("none", "no bearer"): UNREACHED,
    ("none", "a wrong bearer"): UNREACHED,
    ("without an entry", "no bearer"): "CREDENTIALS_INVALID",
    ("without an entry", "a wrong bearer"): "CREDENTIALS_INVALID",
    ("with an entry", "no bearer"): "COURSE_NOT_FOUND",
    ("with an entry", "a wrong bearer"): "CREDENTIALS_INVALID",
    ("with two entries", "no bearer"): "CREDENTIALS_INVALID",
    ("with two entries", "a wrong bearer"): "CREDENTIALS_INVALID",
    ("with a common name only", "no bearer"): "CREDENTIALS_INVALID",
    ("with a common name only", "a wrong bearer"): "CREDENTIALS_INVALID",
    ("that has expired", "no bearer"): UNREACHED,
    ("that has expired", "a wrong bearer"): UNREACHED,
    ("of another authority", "no bearer"): UNREACHED,
    ("of another authority", "a wrong bearer"): UNREACHED,
}
CAUSES = {
    "without an entry": "no entry of REGISTRAR_CERT_ROLES fits the certificate: DNS:other.example.edu",
    "with two entries": (
        "several entries of REGISTRAR_CERT_ROLES fit the certificate: DNS:portal.example.edu, URI:spiffe://campus/sis"
    ),
    "with a common name only": ("the certificate has no subject alternative name of the kinds DNS, URI, IP, email"),
}


async def test_each_certificate_with_and_without_a_bearer(sqlite_url: str, tmp_path: Path) -> None:
    """A bearer decides alone, and a certificate that is not valid never connects."""
    async with serving(sqlite_url, **make_files(tmp_path)) as server:
        found = {}
        for certificate, pair in CERTIFICATES.items():
            for bearer, metadata in BEARERS.items():
                async with calling_with(server, pair) as registrar:
                    call = registrar.courses.GetCourse(GetCourseRequest(course_id="c-1"), metadata=metadata)
                    found[certificate, bearer] = await outcome(call)
    assert found == OUTCOMES


async def outcome(call: Any) -> str:
    """Return the reason why a call was refused."""
    with pytest.raises(AioRpcError) as caught:
        await call
    if caught.value.code() is StatusCode.UNAVAILABLE:
        return UNREACHED
    return Failure.read(caught.value).reason


@pytest.mark.parametrize("certificate", CAUSES)
async def test_the_log_says_why_a_certificate_has_no_role(
    sqlite_url: str, tmp_path: Path, certificate: str, log: Log
) -> None:
    """The names in the line can be copied into the file."""
    async with (
        serving(sqlite_url, **make_files(tmp_path)) as server,
        calling_with(server, CERTIFICATES[certificate]) as registrar,
    ):
        assert await outcome(registrar.course("c-1")) == "CREDENTIALS_INVALID"
    (line,) = log.of("rpc")
    assert line["cause"] == CAUSES[certificate]


async def test_a_certificate_makes_changes_in_its_name(database_url: str, tmp_path: Path) -> None:
    """Its name is in the history, with the person for whom the change is made, and it may set rules aside."""
    async with (
        serving(database_url, **make_files(tmp_path)) as server,
        calling_with(server, CERTIFICATES["with an entry"]) as registrar,
    ):
        await registrar.add_student("s-1")
        await registrar.add_course("c-1", enroll_close_time=Timestamp(seconds=1))
        override = Override(rules=[ERROR_REASON_ENROLLMENT_CLOSED], reason="late arrival")
        enroll = EnrollStudentRequest(student_id="s-1", course_id="c-1", override=override)
        await registrar.enrollments.EnrollStudent(enroll, metadata=[("registrar-on-behalf-of", "ada")])
        events = (await registrar.history.ListEvents(ListEventsRequest())).events
    assert [(event.actor, event.on_behalf_of) for event in events][-1] == ("cert:sis", "ada")
    assert {event.actor for event in events} == {"cert:sis"}


async def test_a_certificate_has_no_more_than_its_roles(sqlite_url: str, tmp_path: Path) -> None:
    """A reader changes nothing, and a name without its default is the name in the certificate."""
    portal = AUTHORITY.issue("DNS:Portal.Example.EDU")
    async with serving(sqlite_url, **make_files(tmp_path)) as server, calling_with(server, portal) as registrar:
        assert (await refused(registrar.enroll("s-1", "c-1"))).reason == "ROLE_REQUIRED"
        assert (await refused(registrar.course("c-1"))).reason == "COURSE_NOT_FOUND"


async def test_a_certificate_gives_nothing_over_http(sqlite_url: str, tmp_path: Path) -> None:
    """HTTP checks that the authority has signed it, and then asks for a bearer."""
    pair = AUTHORITY.issue("URI:spiffe://campus/sis")
    files = make_files(tmp_path)
    pair.write(tmp_path / "client.pem", tmp_path / "client-key.pem")
    trusting = ssl.create_default_context(cafile=str(files["tls_client_ca_file"]))
    trusting.load_cert_chain(tmp_path / "client.pem", tmp_path / "client-key.pem")
    async with serving_http(sqlite_url, **files) as server, connected(server, tls=trusting) as client:
        answer = await client.ask(request("GET", "/v1/courses/c-1"))
    assert (answer.status, answer.reason) == (401, "CREDENTIALS_MISSING")


async def test_an_authority_without_roles_is_transport_security(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever has a certificate may do everything, as nobody in particular, since callers are not identified."""
    files = make_files(tmp_path)
    del files["cert_roles"]
    pair = CERTIFICATES["with a common name only"]
    async with serving(sqlite_url, **files) as server, calling_with(server, pair) as registrar:
        await registrar.add_student("s-1")
        (event,) = (await registrar.history.ListEvents(ListEventsRequest())).events
    assert event.actor == ""


async def test_without_roles_a_certificate_does_not_identify(sqlite_url: str, tmp_path: Path) -> None:
    """Where callers must be identified and no file gives roles, a certificate is no credential."""
    files = make_files(tmp_path)
    del files["cert_roles"]
    pair = CERTIFICATES["with an entry"]
    async with (
        serving(sqlite_url, identity="required", **files) as server,
        calling_with(server, pair) as registrar,
    ):
        assert (await refused(registrar.course("c-1"))).reason == "CREDENTIALS_MISSING"


async def test_a_changed_file_counts_from_the_next_call_on(sqlite_url: str, tmp_path: Path, log: Log) -> None:
    """Callers stay connected. A broken file keeps the roles, and the log says where it is broken."""
    files = make_files(tmp_path)
    pair = CERTIFICATES["with an entry"]
    async with serving(sqlite_url, **files) as server, calling_with(server, pair) as registrar:
        await registrar.add_course("c-1")
        files["cert_roles"].write_text('[[certificates]]\nsan = "URI:spiffe://campus/sis"\nroles = ["owner"]')
        await server.reload()
        await registrar.add_course("c-2")
        files["cert_roles"].write_text(ROLES.replace("admin", "reader"))
        await server.reload()
        assert (await refused(registrar.add_course("c-3"))).reason == "ROLE_REQUIRED"
    broken, repaired = log.of("files_read_again")
    assert broken["read"] == "certificates"
    assert broken["failed"].startswith(f"certificate_roles: REGISTRAR_CERT_ROLES={files['cert_roles']}: entry 1: roles")
    assert repaired == {"event": "files_read_again", "read": "certificate_roles, certificates", "level": "info"}


@pytest.mark.parametrize(
    ("names", "caller"),
    [
        (["URI:spiffe://campus/sis"], SIS),
        (["DNS:portal.example.edu"], PORTAL),
        (["DNS:PORTAL.example.edu"], PORTAL),
        (["DNS:portal.example.edu", "DNS:portal.example.edu"], PORTAL),
        (["IP:2001:db8::1"], Caller("cert:kiosk", with_contained([Role.REGISTRAR]))),
        (["email:batch@example.edu"], Caller("cert:batch@example.edu", with_contained([Role.REGISTRAR]))),
    ],
)
def test_each_kind_of_name_has_its_caller(tmp_path: Path, names: list[str], caller: Caller) -> None:
    """An address is compared by its value and a host without its case. One name twice is one entry."""
    assert roles_of(tmp_path).caller(names) == caller


@pytest.mark.parametrize(
    "name",
    [
        "DNS:spiffe://campus/sis",
        "URI:portal.example.edu",
        "URI:spiffe://campus/sis/",
        "URI:spiffe://campus/sis\0",
        "URI:spiffe://campus/SIS",
        "DNS:portal.example.edu.",
        "DNS:x.portal.example.edu",
        "DNS:*.example.edu",
        "email:Batch@example.edu",
        "portal.example.edu",
        "",
    ],
)
def test_no_other_name_has_a_caller(tmp_path: Path, name: str) -> None:
    """Kinds and whole names must be equal."""
    with pytest.raises(Refusal, match="does not accept"):
        roles_of(tmp_path).caller([name])


SAN = 'san = "DNS:a.example"\n'
READER = 'roles = ["reader"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must consist of tables [[certificates]]"),
        ("certificates = []", "must consist of tables [[certificates]]"),
        ("certificates = 1", "must consist of tables [[certificates]]"),
        ("[[certificate]]\n" + SAN + READER, "must consist of tables [[certificates]]"),
        ("[[certificates]\n", "line 1"),
        ("certificates = [1]", "entry 1: must be a table"),
        ("[[certificates]]\n" + READER, "entry 1: san: must be a subject alternative name with its kind"),
        ("[[certificates]]\nsan = 1\n" + READER, "entry 1: san: must be"),
        ('[[certificates]]\nsan = "a.example"\n' + READER, "entry 1: san: must be"),
        ('[[certificates]]\nsan = "CN:a.example"\n' + READER, "entry 1: san: must be"),
        ('[[certificates]]\nsan = "DNS:"\n' + READER, "entry 1: san: must be"),
        ('[[certificates]]\nsan = "DNS:*.example"\n' + READER, "entry 1: san: must be a full name, without *"),
        ('[[certificates]]\nsan = "IP:10.0.0.0/8"\n' + READER, "entry 1: san: 10.0.0.0/8 is not an IP address"),
        ("[[certificates]]\n" + SAN, "entry 1: roles: must be a list of reader, registrar, admin"),
        ("[[certificates]]\nroles = []\n" + SAN, "entry 1: roles: must be"),
        ('[[certificates]]\nroles = "reader"\n' + SAN, "entry 1: roles: must be"),
        ('[[certificates]]\nroles = ["student"]\n' + SAN, "students need tokens"),
        ("[[certificates]]\nroles = [[]]\n" + SAN, "entry 1: roles: must be"),
        ('[[certificates]]\noverride = "yes"\n' + SAN + READER, "entry 1: override: must be true or false"),
        ("[[certificates]]\non_behalf_of = 1\n" + SAN + READER, "entry 1: on_behalf_of: must be true or false"),
        ('[[certificates]]\nname = "two words"\n' + SAN + READER, "entry 1: name: must be visible ASCII characters"),
        (f'[[certificates]]\nname = "{"n" * 129}"\n' + SAN + READER, "entry 1: name: must be"),
        ("[[certificates]]\nrole = 1\n" + SAN + READER, "entry 1: role: unknown; an entry has name, on_behalf_of"),
        (2 * ("[[certificates]]\n" + SAN + READER), "entry 2: san: DNS:a.example has an entry already"),
    ],
)
def test_a_broken_file_is_refused_with_the_entry_and_the_problem(tmp_path: Path, text: str, problem: str) -> None:
    """The message names the variable and the file."""
    with pytest.raises(SettingsError) as caught:
        roles_of(tmp_path, text)
    assert str(caught.value).startswith(f"REGISTRAR_CERT_ROLES={tmp_path / 'roles.toml'}: ")
    assert problem in str(caught.value)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "roles.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="utf-8"):
        CertificateRoles(tmp_path / "roles.toml")


def test_the_file_in_the_documents_is_valid(tmp_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "identity.md"
    (text,) = re.findall(r"^cat > roles.toml <<'END'\n(.*?)^END$", document.read_text(), re.DOTALL | re.MULTILINE)
    roles = roles_of(tmp_path, text)
    assert roles.caller(["URI:spiffe://campus/sis"]) == SIS._replace(roles=with_contained([Role.REGISTRAR]))
    assert roles.caller(["DNS:portal.example.edu"]) == PORTAL


async def test_a_server_does_not_start_with_a_broken_file(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="REGISTRAR_CERT_ROLES="):
        await start(settings(sqlite_url, **make_files(tmp_path, "")))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_names_the_kinds_as_the_file_does(tmp_path: Path) -> None:
    """What subjectAltName has in the command that makes a certificate is what the file has."""
    names = "URI:spiffe://campus/sis"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -addext subjectAltName={names}"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    assert roles_of(tmp_path).caller([names]) == SIS
