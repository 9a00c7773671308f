"""The settings for tokens: which of them belong together, and the messages for invalid ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registrar_server import settings
from registrar_server.identity.key_sources import MAX_BYTES, KeyServer, key_source
from registrar_server.jwt_settings import ASYMMETRIC
from registrar_server.settings import SettingsError

URL = "https://idp.example.edu/jwks.json"


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set what tokens need, and nothing else, in a folder with the file keys.json."""
    for name in [name for name in os.environ if name.startswith("REGISTRAR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("keys.json").write_text("{}")
    monkeypatch.setenv("REGISTRAR_JWT_KEYS", "keys.json")
    monkeypatch.setenv("REGISTRAR_JWT_ISSUER", "https://idp.example.edu")
    monkeypatch.setenv("REGISTRAR_JWT_AUDIENCE", "registrar")


def refusal() -> str:
    """Return the message for invalid settings."""
    with pytest.raises(SettingsError) as refused:
        settings.load()
    return str(refused.value)


def test_tokens_are_signed_with_asymmetric_algorithms_by_default() -> None:
    found = settings.load()
    assert (found.jwt_keys, found.jwt_issuer, found.jwt_audience) == (
        "keys.json",
        "https://idp.example.edu",
        ("registrar",),
    )
    assert found.jwt_algorithms == ASYMMETRIC
    assert not [name for name in ASYMMETRIC if name.startswith("HS") or name == "none"]


def test_audiences_and_algorithms_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_JWT_AUDIENCE", "registrar, https://registrar.example.edu")
    monkeypatch.setenv("REGISTRAR_JWT_ALGORITHMS", "ES256,EdDSA")
    found = settings.load()
    assert found.jwt_audience == ("registrar", "https://registrar.example.edu")
    assert found.jwt_algorithms == ("ES256", "EdDSA")


@pytest.mark.parametrize("value", [URL, "https://127.0.0.1:8443/", "http://localhost:8080/k", "http://[::1]:80/k"])
def test_keys_may_come_from_https_and_from_http_on_loopback(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REGISTRAR_JWT_KEYS", value)
    assert settings.load().jwt_keys == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("missing.json", "must be a file that can be read, or a URL"),
        (".", "must be a file that can be read, or a URL"),
        ("http://idp.example.edu/jwks.json", "http is for loopback only"),
        ("http://localhost.example.edu/jwks.json", "http is for loopback only"),
        ("http://127.0.0.1@idp.example.edu/jwks.json", "http is for loopback only"),
        ("ftp://idp.example.edu/jwks.json", "must be a file or an https URL"),
        ("file:///etc/keys.json", "must be a file or an https URL"),
        ("https://", "must be a file or an https URL"),
        ("https://idp.example.edu:port/", "must be a file or an https URL"),
        ("https://[::1/", "must be a file or an https URL"),
        ("https://ada:hunter2@idp.example.edu/", "must be a URL without a user, a password and a fragment"),
        (f"{URL}?key=hunter2 ", "must be a URL of visible ASCII characters"),
        (f"{URL}?key= hunter2", "must be a URL of visible ASCII characters"),
        (f"{URL}?key=hunter2\u00e9", "must be a URL of visible ASCII characters"),
        (f"{URL}?key=hunter2\n", "must be a URL of visible ASCII characters"),
        (f"{URL}#keys", "must be a URL without a user, a password and a fragment"),
    ],
)
def test_the_message_says_what_keys_may_be(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    monkeypatch.setenv("REGISTRAR_JWT_KEYS", value)
    message = refusal()
    assert message.startswith("REGISTRAR_JWT_KEYS: must be ")
    assert expected in message
    assert "hunter2" not in message


def test_the_query_of_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have a secret of the identity provider."""
    monkeypatch.setenv("REGISTRAR_JWT_KEYS", f"{URL}?key=hunter2")
    found = settings.load()
    source = key_source(found.jwt_keys)
    assert "hunter2" not in f"{found!r} {found} {source!r} {source}"
    assert URL in repr(source)


def test_reading_keys_has_the_limits_of_the_documents() -> None:
    server, file = key_source(URL), key_source("keys.json")
    assert (server.interval, file.interval, MAX_BYTES) == (300.0, 5.0, 1024 * 1024)
    assert isinstance(server, KeyServer)
    assert server.max_seconds == 5.0


@pytest.mark.parametrize("missing", ["REGISTRAR_JWT_ISSUER", "REGISTRAR_JWT_AUDIENCE"])
def test_issuer_and_audience_are_mandatory(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for empty in ("", None):
        if empty is None:
            monkeypatch.delenv(missing)
        else:
            monkeypatch.setenv(missing, empty)
        assert refusal().startswith(f"REGISTRAR_JWT_KEYS needs {missing}: ")


def test_both_are_named_if_both_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRAR_JWT_ISSUER")
    monkeypatch.setenv("REGISTRAR_JWT_AUDIENCE", " , ")
    assert refusal().startswith("REGISTRAR_JWT_KEYS needs REGISTRAR_JWT_ISSUER and REGISTRAR_JWT_AUDIENCE: ")


def test_an_issuer_without_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRAR_JWT_KEYS")
    assert refusal().startswith("REGISTRAR_JWT_KEYS must be set beside REGISTRAR_JWT_ISSUER and REGISTRAR_JWT_AUDIENCE")


@pytest.mark.parametrize("value", ["none", "None", "rs256", "ES256K", "RS256,none", "RS1"])
def test_unknown_algorithms_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REGISTRAR_JWT_ALGORITHMS", value)
    message = refusal()
    assert message.startswith(f"REGISTRAR_JWT_ALGORITHMS={value}: must be some of RS256, ")
    assert "or some of HS256, HS384, HS512" in message


@pytest.mark.parametrize("value", ["HS256,RS256", "ES256,HS512", ""])
def test_secret_and_public_keys_are_never_mixed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REGISTRAR_JWT_ALGORITHMS", value)
    assert "never both" in refusal()


def test_secret_keys_come_from_a_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_JWT_ALGORITHMS", "HS256,HS512")
    assert settings.load().jwt_algorithms == ("HS256", "HS512")
    monkeypatch.setenv("REGISTRAR_JWT_KEYS", URL)
    assert refusal() == "REGISTRAR_JWT_KEYS must be a file if REGISTRAR_JWT_ALGORITHMS needs secret keys"


@pytest.mark.parametrize("name", ["REGISTRAR_JWT_KEY", "registrar_jwt_key"])
def test_a_misspelt_setting_is_refused_because_the_server_would_take_no_tokens(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "keys.json")
    assert refusal() == f"{name} is not a setting; REGISTRAR_JWT_KEYS is"
    monkeypatch.delenv(name)
    Path(".env").write_text(f"{name}=keys.json\n")
    assert refusal() == f"{name} is not a setting; REGISTRAR_JWT_KEYS is"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REGISTRAR_IDENTIY", "REGISTRAR_IDENTITY"),
        ("registrer_identity", "REGISTRAR_IDENTITY"),
        ("REGISTRAR_CERT_ROLE", "REGISTRAR_CERT_ROLES"),
        ("REGISTRAR_CERTROLES", "REGISTRAR_CERT_ROLES"),
    ],
)
def test_other_misspelt_settings_of_identity_are_refused_too(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "required")
    assert refusal() == f"{name} is not a setting; {meant} is"
