"""A server that was never reached fails soon and says why. One that was reached and is lost is retried as before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from registrar_client import (
    AsyncRegistrarClient,
    Cancelled,
    DeadlineExceeded,
    RegistrarClient,
    RetryOptions,
    TlsOptions,
    Unavailable,
    Unimplemented,
)
from tests.support.certificates import Certificates, make
from tests.support.servers import serving

Call = Callable[..., Any]
PATIENT = 60
"""A timeout that no test waits for."""


def call_sync(*target: str, **options: Any) -> None:
    with RegistrarClient(*target, **options) as client:
        client.get_enrollment(enrollment_id="e-1")


def call_async(*target: str, **options: Any) -> None:
    async def call() -> None:
        async with AsyncRegistrarClient(*target, **options) as client:
            await client.get_enrollment(enrollment_id="e-1")

    asyncio.run(call())


def call_gathering(*target: str, **options: Any) -> None:
    async def call() -> None:
        async with AsyncRegistrarClient(*target, gather=True, **options) as client:
            calls = [client.enroll(student_id=f"s-{number}", course_id="CS-101") for number in range(2)]
            first, _ = await asyncio.gather(*calls, return_exceptions=True)
            if isinstance(first, BaseException):
                raise first

    asyncio.run(call())


@pytest.fixture(params=[call_sync, call_async, call_gathering], ids=["sync", "async", "gathering"])
def call(request: pytest.FixtureRequest) -> Call:
    """Makes a client of each kind and one call, with gathering two calls that travel together."""
    made: Call = request.param
    return made


def failed(call: Call, *target: str, **options: Any) -> Unavailable:
    """Make a call to a server that is never reached, with a long timeout, and return the error."""
    with pytest.raises(Unavailable) as failure:
        call(*target, **{"connect_timeout": 0.5, "timeout": PATIENT, **options})
    assert isinstance(failure.value.__cause__, grpc.RpcError)
    return failure.value


@pytest.fixture
def closed_port() -> int:
    """A port without a server."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return port_of(unused)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A listening socket that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def port_of(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


@contextlib.contextmanager
def grpc_server(credentials: grpc.ServerCredentials | None = None, port: int = 0) -> Iterator[int]:
    """Run a gRPC server on 127.0.0.1 that has no calls. The value is its port."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    address = f"127.0.0.1:{port}"
    bound = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    server.start()
    yield bound
    server.stop(None).wait()


@contextlib.contextmanager
def tls_server(certificates: Certificates, *, mutual: bool = False) -> Iterator[int]:
    pair = (certificates.server_key.read_bytes(), certificates.server.read_bytes())
    authority = certificates.authority.read_bytes() if mutual else None
    with grpc_server(grpc.ssl_server_credentials([pair], authority, mutual)) as port:
        yield port


# connect_timeout


def test_a_server_that_was_never_reached_fails_after_the_connect_timeout(call: Call, closed_port: int) -> None:
    started = time.monotonic()
    failure = failed(call, f"127.0.0.1:{closed_port}")
    assert 0.5 <= time.monotonic() - started < PATIENT / 4
    assert str(failure).startswith(f"The server at 127.0.0.1:{closed_port} was never reached. gRPC reports: ")
    assert str(failure).endswith("Connection refused")


def test_the_connect_timeout_is_two_seconds_by_default(closed_port: int) -> None:
    started = time.monotonic()
    with RegistrarClient(f"127.0.0.1:{closed_port}", timeout=PATIENT) as client, pytest.raises(Unavailable):
        client.get_enrollment(enrollment_id="e-1")
    assert 2 <= time.monotonic() - started < PATIENT / 4


def test_a_server_that_accepts_and_never_answers_was_never_reached(call: Call, silent: socket.socket) -> None:
    assert "was never reached" in str(failed(call, f"127.0.0.1:{port_of(silent)}"))


def test_a_name_server_that_never_answers_does_not_use_up_the_timeout(call: Call) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server:
        name_server.bind(("127.0.0.1", 0))
        target = f"dns://127.0.0.1:{port_of(name_server)}/registrar.example.edu"
        assert "was never reached" in str(failed(call, target, insecure=True))


def test_none_of_several_addresses_was_reached(call: Call, closed_port: int, silent: socket.socket) -> None:
    target = f"ipv4:127.0.0.1:{closed_port},127.0.0.1:{port_of(silent)}"
    assert f"The server at {target} was never reached" in str(failed(call, target))


def test_one_of_several_addresses_is_enough(call: Call, closed_port: int) -> None:
    with grpc_server() as port, pytest.raises(Unimplemented):
        call(f"ipv4:127.0.0.1:{closed_port},127.0.0.1:{port}")


@contextlib.contextmanager
def server_after_pauses(client: RegistrarClient | AsyncRegistrarClient, port: int, seconds: float) -> Iterator[None]:
    """Start a server on a port when the pauses of a client between its attempts are together this long."""
    pauses: list[float] = []

    def noted(pause: float) -> None:
        pauses.append(pause)
        if seconds <= sum(pauses) < seconds + pause:
            running.enter_context(grpc_server(port=port))

    def sleep(pause: float) -> None:
        time.sleep(pause)
        noted(pause)

    async def async_sleep(pause: float) -> None:
        await asyncio.sleep(pause)
        noted(pause)

    client._runner.sleep = sleep if isinstance(client, RegistrarClient) else async_sleep
    with contextlib.ExitStack() as running:
        yield
    assert sum(pauses) >= seconds


def test_a_server_that_starts_within_the_connect_timeout_is_reached(closed_port: int) -> None:
    with (
        RegistrarClient(f"127.0.0.1:{closed_port}", connect_timeout=PATIENT, timeout=PATIENT) as client,
        server_after_pauses(client, closed_port, 0.3),
        pytest.raises(Unimplemented),
    ):
        client.get_enrollment(enrollment_id="e-1")


async def test_a_server_that_starts_within_the_connect_timeout_is_reached_for_asyncio(
    closed_port: int, gather: bool
) -> None:
    async with AsyncRegistrarClient(
        f"127.0.0.1:{closed_port}", connect_timeout=PATIENT, timeout=PATIENT, gather=gather
    ) as client:
        with server_after_pauses(client, closed_port, 0.3), pytest.raises(Unimplemented):
            await client.get_enrollment(enrollment_id="e-1")


def test_a_server_that_was_reached_and_is_lost_is_retried_until_the_timeout(closed_port: int) -> None:
    with RegistrarClient(f"127.0.0.1:{closed_port}", connect_timeout=1, timeout=PATIENT) as client:
        with grpc_server(port=closed_port), pytest.raises(Unimplemented):
            client.get_enrollment(enrollment_id="e-1")
        with server_after_pauses(client, closed_port, 1.5), pytest.raises(Unimplemented):
            client.get_enrollment(enrollment_id="e-1")
        with pytest.raises((Unavailable, DeadlineExceeded)) as failure:
            client.get_enrollment(enrollment_id="e-1", timeout=0.5)
        assert "never reached" not in str(failure.value)


async def test_a_server_that_was_reached_and_is_lost_is_retried_until_the_timeout_for_asyncio(
    closed_port: int, gather: bool
) -> None:
    async with AsyncRegistrarClient(
        f"127.0.0.1:{closed_port}", connect_timeout=1, timeout=PATIENT, gather=gather
    ) as client:
        with grpc_server(port=closed_port), pytest.raises(Unimplemented):
            await client.get_enrollment(enrollment_id="e-1")
        with server_after_pauses(client, closed_port, 1.5), pytest.raises(Unimplemented):
            await client.get_enrollment(enrollment_id="e-1")


def test_without_retries_the_first_failure_ends_the_call(call: Call, closed_port: int) -> None:
    started = time.monotonic()
    options = {"connect_timeout": PATIENT, "retry": RetryOptions(max_attempts=1)}
    assert "was never reached" in str(failed(call, f"127.0.0.1:{closed_port}", **options))
    assert time.monotonic() - started < PATIENT / 4


def test_a_channel_of_the_caller_has_a_connect_timeout_too(closed_port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{closed_port}") as channel:
        failure = failed(call_sync, channel=channel)
    assert str(failure).startswith("The server at the given channel was never reached. gRPC reports: ")


def test_close_ends_the_wait_for_a_server(silent: socket.socket) -> None:
    client = RegistrarClient(f"127.0.0.1:{port_of(silent)}", connect_timeout=PATIENT, timeout=PATIENT)
    with futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.get_enrollment, enrollment_id="e-1")
        connection, _ = silent.accept()
        with connection:
            client.close()
        with pytest.raises(Cancelled):
            under_way.result()


def test_close_ends_the_pause_between_two_attempts(closed_port: int) -> None:
    client = RegistrarClient(f"127.0.0.1:{closed_port}", connect_timeout=PATIENT, timeout=PATIENT)
    client._runner.sleep = lambda _pause: client.close()
    with pytest.raises(Cancelled, match="The client was closed"):
        client.get_enrollment(enrollment_id="e-1")


# TLS

PLAINTEXT_TO_TLS = "It closed the connection, probably because it uses TLS, but this client uses plaintext."
TLS_TO_PLAINTEXT = "It uses plaintext, but this client uses TLS."
NO_CERTIFICATE = "It closed the connection, probably because it requires a client certificate."
FOREIGN_CERTIFICATE = "It closed the connection, probably because it does not trust the client's certificate."
UNTRUSTED = "This client does not trust the server's certificate."
OTHER_NAME = "The server's certificate is for another name."
HOSTS = ["localhost", "127.0.0.1"]
"""The server listens only on 127.0.0.1, but `localhost` can have two addresses, one of which refuses the connection."""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("mutual", [False, True])
def test_plaintext_to_a_server_with_tls_says_so(
    call: Call, certificates: Certificates, host: str, mutual: bool
) -> None:
    with tls_server(certificates, mutual=mutual) as port:
        assert PLAINTEXT_TO_TLS in str(failed(call, f"{host}:{port}"))


@pytest.mark.parametrize("host", HOSTS)
def test_tls_to_a_server_without_tls_says_so(call: Call, certificates: Certificates, host: str) -> None:
    with grpc_server() as port:
        failure = failed(call, f"{host}:{port}", tls=TlsOptions(ca_file=certificates.authority))
    assert TLS_TO_PLAINTEXT in str(failure)


@pytest.mark.parametrize("host", HOSTS)
def test_a_missing_client_certificate_is_named(call: Call, certificates: Certificates, host: str) -> None:
    with tls_server(certificates, mutual=True) as port:
        failure = failed(call, f"{host}:{port}", tls=TlsOptions(ca_file=certificates.authority))
    assert NO_CERTIFICATE in str(failure)


def test_a_client_certificate_of_another_authority_is_named(
    call: Call, certificates: Certificates, tmp_path: Path
) -> None:
    foreign = make(tmp_path)
    tls = TlsOptions(
        ca_file=certificates.authority, client_cert_file=foreign.client, client_key_file=foreign.client_key
    )
    with tls_server(certificates, mutual=True) as port:
        assert FOREIGN_CERTIFICATE in str(failed(call, f"localhost:{port}", tls=tls))


def test_a_server_that_the_client_does_not_trust_is_named(call: Call, certificates: Certificates) -> None:
    with tls_server(certificates) as port:
        assert UNTRUSTED in str(failed(call, f"localhost:{port}", tls=TlsOptions()))


def test_a_server_with_another_name_is_named(call: Call, certificates: Certificates) -> None:
    tls = replace(TlsOptions(ca_file=certificates.authority), server_name="registrar.example.edu")
    with tls_server(certificates) as port:
        assert OTHER_NAME in str(failed(call, f"localhost:{port}", tls=tls))


def test_a_web_server_is_named(call: Call) -> None:
    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        failure = failed(call, f"127.0.0.1:{port_of(listening)}")
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "It uses HTTP/1, but gRPC needs HTTP/2." in str(failure)


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
async def test_the_server_of_registrar_shows_the_same_causes(
    database_url: str, certificates: Certificates, mutual: bool
) -> None:
    authority = str(certificates.authority)
    tls = {"tls_cert_file": str(certificates.server), "tls_key_file": str(certificates.server_key)}
    async with serving(database_url, **tls, tls_client_ca_file=authority if mutual else None) as server:
        cases: list[tuple[str, TlsOptions | None]] = [(PLAINTEXT_TO_TLS, None), (UNTRUSTED, TlsOptions())]
        if mutual:
            cases.append((NO_CERTIFICATE, TlsOptions(ca_file=authority)))
        for cause, options in cases:
            client = AsyncRegistrarClient(server.address, tls=options, connect_timeout=0.5, timeout=PATIENT)
            async with client:
                with pytest.raises(Unavailable) as failure:
                    await client.students.get(student_id="s-1")
            assert cause in str(failure.value)
