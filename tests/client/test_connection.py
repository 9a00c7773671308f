"""How clients connect: loopback or TLS, tokens, channel options and the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from registrar_client import AsyncRegistrarClient, RegistrarClient, TlsOptions
from registrar_client._connection import Connection, is_loopback
from registrar_client._environment import arguments

TLS = Path(__file__).parent / "tls"
Client = Callable[..., RegistrarClient | AsyncRegistrarClient]


@pytest.fixture(params=[RegistrarClient, AsyncRegistrarClient])
def client(request: pytest.FixtureRequest) -> Client:
    """The class of each client."""
    kind: Client = request.param
    return kind


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:50051",
        "127.8.9.1:1",
        "[::1]:50051",
        "::1",
        "dns:localhost:1",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:/run/registrar.sock",
        "unix:///run/registrar.sock",
        "unix-abstract:registrar",
    ],
)
def test_loopback_targets_are_plaintext(client: Client, target: str) -> None:
    assert is_loopback(target)
    assert "plaintext" in repr(client(target, token="secret"))


@pytest.mark.parametrize(
    "target",
    [
        "registrar.example.edu:443",
        "registrar.example.edu",
        "localhost.example.edu:443",
        "127.0.0.1.example.edu:443",
        "10.0.0.1:443",
        "0.0.0.0:50051",
        "[2001:db8::1]:443",
        "dns:///registrar.example.edu:443",
        "dns://8.8.8.8/localhost:443",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "xds:///registrar",
        "unix.example.edu:443",
    ],
)
def test_all_other_targets_are_tls(client: Client, target: str) -> None:
    assert not is_loopback(target)
    assert "TLS" in repr(client(target, token="secret"))


def test_plaintext_to_another_machine_needs_insecure(client: Client) -> None:
    assert "plaintext" in repr(client("registrar.example.edu:80", insecure=True))


@pytest.mark.parametrize("token", ["secret", lambda: "secret"], ids=["str", "callable"])
def test_a_token_never_travels_in_plaintext(client: Client, token: object) -> None:
    with pytest.raises(ValueError, match="a token must not travel in plaintext") as refused:
        client("registrar.example.edu:80", insecure=True, token=token)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("token", ["", "two words", "line\n", "caf\u00e9", b"bytes"])
def test_the_error_for_an_invalid_token_does_not_show_it(client: Client, token: str) -> None:
    with pytest.raises(ValueError, match="token must be") as refused:
        client(token=token)
    assert not token or str(token) not in str(refused.value)


def test_repr_shows_the_target_and_never_the_token(client: Client) -> None:
    name = getattr(client, "__name__", "")
    assert repr(client("localhost:1", token="secret")) == f"{name}('localhost:1', plaintext)"


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("localhost", "localhost:50051"),
        ("localhost:", "localhost:50051"),
        ("localhost:1", "localhost:1"),
        ("127.0.0.1", "127.0.0.1:50051"),
        ("registrar.example.edu", "registrar.example.edu:50051"),
        ("unix.example.edu", "unix.example.edu:50051"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ("fe80::1%eth0", "[fe80::1%eth0]:50051"),
        ("dns:registrar.example.edu", "dns:registrar.example.edu:50051"),
        ("dns:///registrar.example.edu", "dns:///registrar.example.edu:50051"),
        ("dns://8.8.8.8/registrar.example.edu", "dns://8.8.8.8/registrar.example.edu:50051"),
        ("dns://[2001:db8::1]:53/registrar.example.edu:1", "dns://[2001:db8::1]:53/registrar.example.edu:1"),
        ("ipv4:10.0.0.1,10.0.0.2:1", "ipv4:10.0.0.1:50051,10.0.0.2:1"),
        ("ipv6:[::1],[::2]:1", "ipv6:[::1]:50051,[::2]:1"),
        ("ipv6:///::1", "ipv6:///[::1]:50051"),
        ("unix:/run/registrar.sock", "unix:/run/registrar.sock"),
        ("unix:registrar.sock", "unix:registrar.sock"),
        ("unix:///run/registrar.sock", "unix:///run/registrar.sock"),
        ("unix-abstract:registrar", "unix-abstract:registrar"),
        ("vsock:1:2", "vsock:1:2"),
        ("xds:///registrar", "xds:///registrar"),
    ],
)
def test_a_target_without_a_port_means_50051(client: Client, target: str, meant: str) -> None:
    assert repr(meant) in repr(client(target))


@pytest.mark.parametrize("target", ["", None, 50051])
def test_a_target_must_be_an_address(client: Client, target: str) -> None:
    with pytest.raises(ValueError, match="target must be an address such as 'localhost:50051'"):
        client(target)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_must_be_positive(client: Client, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds"):
        client(timeout=timeout)


def test_contradicting_arguments_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        client(tls=TlsOptions(), insecure=True)
    with pytest.raises(ValueError, match="this one was given"):
        client(channel=grpc.insecure_channel("localhost:1"), insecure=True)
    with pytest.raises(ValueError, match="must be given together"):
        TlsOptions(client_cert_file=TLS / "client.pem")


def test_a_file_that_cannot_be_read_is_named(client: Client) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pem"):
        client(tls=TlsOptions(ca_file=TLS / "nowhere.pem"))


def options(target: str, tls: TlsOptions | None = None) -> dict[str, object]:
    """Return the channel options for a target."""
    return dict(Connection.to(target, token=None, tls=tls, insecure=False, given=None).options())


def test_grpc_neither_retries_by_itself_nor_takes_its_service_config_from_dns() -> None:
    chosen = options("registrar.example.edu:443")
    assert chosen["grpc.enable_retries"] == 0
    assert chosen["grpc.service_config_disable_resolution"] == 1


def test_loopback_never_goes_through_a_proxy() -> None:
    assert options("localhost:1")["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in options("registrar.example.edu:443")


def test_the_expected_name_in_the_certificate_can_be_set() -> None:
    chosen = options("localhost:1", TlsOptions(server_name="registrar.example.edu"))
    assert chosen["grpc.ssl_target_name_override"] == "registrar.example.edu"


def test_an_empty_environment_means_the_defaults() -> None:
    names = ["TARGET", "TOKEN", "TOKEN_FILE", "CA_FILE", "TIMEOUT", "CONNECT_TIMEOUT"]
    empty = dict.fromkeys([f"REGISTRAR_{name}" for name in names], "")
    assert arguments({}) == arguments(empty)
    assert arguments({}) == {
        "target": "localhost:50051",
        "token": None,
        "tls": None,
        "insecure": False,
        "timeout": 10.0,
        "connect_timeout": 2.0,
    }


def test_the_environment_sets_the_arguments_of_the_constructor() -> None:
    environ = {
        "REGISTRAR_TARGET": "registrar.example.edu:443",
        "REGISTRAR_TOKEN": "secret",
        "REGISTRAR_CA_FILE": "ca.pem",
        "REGISTRAR_CLIENT_CERT_FILE": "client.pem",
        "REGISTRAR_CLIENT_KEY_FILE": "client-key.pem",
        "REGISTRAR_TIMEOUT": "2.5",
        "REGISTRAR_CONNECT_TIMEOUT": "500ms",
    }
    assert arguments(environ) == {
        "target": "registrar.example.edu:443",
        "token": "secret",
        "tls": TlsOptions(ca_file="ca.pem", client_cert_file="client.pem", client_key_file="client-key.pem"),
        "insecure": False,
        "timeout": 2.5,
        "connect_timeout": 0.5,
    }


@pytest.mark.parametrize(("written", "seconds"), [("3", 3), ("2.5s", 2.5), ("500ms", 0.5), ("1m", 60), (" 4 ", 4)])
def test_a_timeout_in_the_environment_may_have_a_unit(written: str, seconds: float) -> None:
    assert arguments({"REGISTRAR_TIMEOUT": written})["timeout"] == seconds


@pytest.mark.parametrize(("written", "meant"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("no", False)])
def test_insecure_in_the_environment_is_a_boolean(written: str, meant: bool) -> None:
    assert arguments({"REGISTRAR_INSECURE": written})["insecure"] is meant


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGISTRAR_TIMEOUT", "soon"),
        ("REGISTRAR_TIMEOUT", "0"),
        ("REGISTRAR_TIMEOUT", "-1"),
        ("REGISTRAR_CONNECT_TIMEOUT", "never"),
        ("REGISTRAR_INSECURE", "maybe"),
        ("REGISTRAR_CLIENT_CERT_FILE", "client.pem"),
        ("REGISTRAR_CLIENT_KEY_FILE", "client-key.pem"),
    ],
)
def test_the_error_for_an_invalid_variable_names_it(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        arguments({name: value})


def test_from_env_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_TARGET", "registrar.example.edu:443")
    assert repr(RegistrarClient.from_env()) == "RegistrarClient('registrar.example.edu:443', TLS)"
    assert repr(AsyncRegistrarClient.from_env({})) == "AsyncRegistrarClient('localhost:50051', plaintext)"
