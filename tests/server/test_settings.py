"""Settings: their sources, their allowed values, and the messages for invalid ones."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from registrar_server import settings
from registrar_server.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings from the environment, and work in a folder without a ``.env`` file."""
    for name in [name for name in os.environ if name.startswith("REGISTRAR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(**flags: object) -> str:
    """Return the message for invalid settings."""
    with pytest.raises(SettingsError) as refused:
        settings.load(**flags)
    return str(refused.value)


def test_every_setting_has_a_default() -> None:
    found = settings.load()
    assert (found.listen, found.http_listen) == ("127.0.0.1:50051", "127.0.0.1:8080")
    assert (found.http_hosts, found.http_origins, found.reflection) == ((), (), True)
    assert found.database_url.get_secret_value() == "sqlite:///registrar.db"
    assert found.request_id_ttl == 24 * 3600
    assert (found.log_format, found.log_level) == ("auto", "info")
    assert not found.insecure


def test_flags_override_the_environment_and_the_environment_overrides_the_env_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("REGISTRAR_LISTEN=127.0.0.1:1\nREGISTRAR_LOG_LEVEL=error\nREGISTRAR_MAX_BATCH=7\n")
    monkeypatch.setenv("REGISTRAR_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("REGISTRAR_LOG_LEVEL", "warning")
    found = settings.load(listen="127.0.0.1:3", log_level=None)
    assert (found.listen, found.log_level, found.max_batch) == ("127.0.0.1:3", "warning", 7)


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("24h", 86400.0), ("7d", 604800.0)]
)
def test_durations_have_units(monkeypatch: pytest.MonkeyPatch, written: str, seconds: float) -> None:
    monkeypatch.setenv("REGISTRAR_SHUTDOWN_GRACE", written)
    assert settings.load().shutdown_grace == seconds


@pytest.mark.parametrize(("written", "seconds"), [("0", 0.0), ("0s", 0.0), ("100ms", 0.1), ("1m", 60.0)])
def test_the_sweep_has_an_interval_or_is_off(monkeypatch: pytest.MonkeyPatch, written: str, seconds: float) -> None:
    assert settings.load().settle_interval == 30
    monkeypatch.setenv("REGISTRAR_SETTLE_INTERVAL", written)
    assert settings.load().settle_interval == seconds


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("LISTEN", "nowhere", "must be host:port"),
        ("LISTEN", "127.0.0.1:70000", "must be host:port"),
        ("LISTEN", ":50051", "must be host:port"),
        ("HTTP_LISTEN", "8080", "must be host:port"),
        ("HTTP_LISTEN", "::1:8080", "an IPv6 address in brackets"),
        ("HTTP_MAX_CONNECTIONS", "0", "greater than or equal to 1"),
        ("REFLECTION", "perhaps", "valid boolean"),
        ("LOG_FORMAT", "xml", "'auto', 'console' or 'json'"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("REQUEST_ID_TTL", "soon", 'must be a duration of at most 3650d, such as "500ms"'),
        ("REQUEST_ID_TTL", "3651d", "at most 3650d"),
        ("LISTEN", "::1:50051", "an IPv6 address in brackets"),
        ("REQUEST_ID_TTL", "59s", "greater than or equal to 60"),
        ("MAX_WAITING", "0", "greater than or equal to 1"),
        ("MAX_WATCHERS", "0", "greater than or equal to 1"),
        ("MAX_WATCHERS", "all", "valid integer"),
        ("MAX_BATCH", "10001", "less than or equal to 10000"),
        ("MAX_BATCH", "many", "valid integer"),
        ("WRITE_LANES", "65", "less than or equal to 64"),
        ("READ_LANES", "0", "greater than or equal to 1"),
        ("MAX_MESSAGE_BYTES", "1", "greater than or equal to 262144"),
        ("SHUTDOWN_GRACE", "-1s", "must be a duration"),
        ("HEALTH_INTERVAL", "0s", "greater than 0"),
        ("SETTLE_INTERVAL", "50ms", "must be at least 100ms, or 0 to turn the sweep off"),
        ("SETTLE_INTERVAL", "-1s", "must be a duration"),
        ("SETTLE_INTERVAL", "30", "must be a duration"),
        ("INSECURE", "perhaps", "valid boolean"),
        ("TLS_CERT_FILE", "missing.pem", "must be a file that can be read"),
        ("CERT_ROLES", "missing.toml", "must be a file that can be read"),
    ],
)
def test_the_message_for_an_invalid_value_names_the_variable_and_the_allowed_values(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(f"REGISTRAR_{name}", value)
    message = refusal()
    assert message.startswith(f"REGISTRAR_{name}={value}: ")
    assert allowed in message


def test_one_message_names_all_invalid_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_LISTEN", "nowhere")
    monkeypatch.setenv("REGISTRAR_LOG_LEVEL", "loud")
    lines = refusal().splitlines()
    assert {line.partition("=")[0] for line in lines} == {"REGISTRAR_LISTEN", "REGISTRAR_LOG_LEVEL"}


@pytest.mark.parametrize("url", ["mysql://root:hunter2@db/x", "sqlite://", "sqlite:///:memory:", "registrar.db", ""])
def test_a_database_must_be_a_sqlite_file_or_postgresql(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REGISTRAR_DATABASE_URL", url)
    message = refusal()
    assert message.startswith("REGISTRAR_DATABASE_URL: ")
    assert "sqlite:///file.db or postgresql://" in message
    assert "hunter2" not in message


def test_a_password_that_makes_the_url_invalid_is_not_shown() -> None:
    message = refusal(database_url="postgresql://ada:p@ss:hunter2/registrar")
    assert message.startswith("REGISTRAR_DATABASE_URL: ")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "url", ["mysql://root:hunter2@db/x", "sqlite:///registrar.db", "postgresql://ada:p@ss:hunter2/x"]
)
def test_a_direct_url_must_be_postgresql(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The message has no password."""
    monkeypatch.setenv("REGISTRAR_DATABASE_DIRECT_URL", url)
    expected = "REGISTRAR_DATABASE_DIRECT_URL: must be postgresql://user:password@host/database"
    assert refusal(database_url="postgresql://db/registrar") == expected


@pytest.mark.parametrize("value", [None, ""])
def test_the_direct_url_is_that_of_the_database_by_default(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("REGISTRAR_DATABASE_DIRECT_URL", value)
    found = settings.load(database_url="postgresql://db/registrar")
    assert found.direct_url == found.url
    direct = settings.load(database_url="postgresql://pool/registrar", database_direct_url="postgresql://db/registrar")
    assert (direct.url.host, direct.direct_url.host) == ("pool", "db")


@pytest.mark.parametrize("name", ["database_url", "database_direct_url"])
def test_the_password_is_never_shown(name: str) -> None:
    found = settings.load(**{name: "postgresql://ada:hunter2@db/registrar"})
    url = found.url if name == "database_url" else found.direct_url
    assert url.password == "hunter2"
    assert "hunter2" not in f"{found!r} {found} {url} {url!r}"


HOSTS_EXPECTED = "must be names such as registrar.example.edu or registrar.example.edu:8080, without a scheme or a path"
ORIGINS_EXPECTED = "must be origins such as https://portal.example.edu or http://localhost:3000, without a slash"


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.example.edu",
        "https://registrar.example.edu",
        "registrar.example.edu/",
        "registrar.example.edu:port",
        "ada@registrar.example.edu",
        "::1",
        "[::z]",
        "0.0.0.0",
        "[::]:8080",
    ],
)
def test_the_message_for_an_invalid_host_shows_the_entry_and_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("REGISTRAR_HTTP_HOSTS", f"localhost, {entry}")
    assert refusal().startswith(f"REGISTRAR_HTTP_HOSTS=localhost, {entry}: {entry} is not a host; {HOSTS_EXPECTED}")


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "https://*.example.edu",
        "null",
        "portal.example.edu",
        "https://portal.example.edu/",
        "https://portal.example.edu/page",
        "https://",
        "://portal.example.edu",
        "https://ada@portal.example.edu",
    ],
)
def test_the_message_for_an_invalid_origin_shows_the_entry_and_what_it_must_be(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("REGISTRAR_HTTP_ORIGINS", entry)
    assert refusal().startswith(f"REGISTRAR_HTTP_ORIGINS={entry}: {entry} is not an origin; {ORIGINS_EXPECTED}")


def test_hosts_and_origins_are_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_HTTP_HOSTS", "registrar.example.edu, registrar:8443,[2001:db8::7]:8080,")
    monkeypatch.setenv("REGISTRAR_HTTP_ORIGINS", "https://Portal.example.edu:443 ,http://localhost:3000")
    found = settings.load()
    assert found.http_hosts == ("registrar.example.edu", "registrar:8443", "[2001:db8::7]:8080")
    assert found.http_origins == ("https://portal.example.edu", "http://localhost:3000")


def test_an_empty_address_turns_http_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_HTTP_LISTEN", "")
    assert settings.load().http_listen == ""
    assert settings.load(http_listen="127.0.0.1:0").http_listen == "127.0.0.1:0"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_no_tls(address: str) -> None:
    assert settings.load(listen=address).listen == address
    assert settings.load(http_listen=address).http_listen == address


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "registrar.example.edu:1"])
def test_any_other_address_needs_tls_or_the_insecure_flag(address: str) -> None:
    message = refusal(listen=address)
    for name in ("REGISTRAR_LISTEN", "REGISTRAR_TLS_CERT_FILE", "REGISTRAR_TLS_KEY_FILE", "--insecure"):
        assert name in message
    assert settings.load(listen=address, insecure=True).listen == address


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "registrar.example.edu:1"])
def test_http_on_any_other_address_also_needs_the_names_of_the_server(address: str) -> None:
    encryption, names = refusal(http_listen=address).splitlines()
    for line in (encryption, names):
        assert line.startswith(f"REGISTRAR_HTTP_LISTEN={address} can be reached from other machines: set ")
    for name in ("REGISTRAR_TLS_CERT_FILE", "REGISTRAR_TLS_KEY_FILE", "--insecure"):
        assert name in encryption
    assert "REGISTRAR_HTTP_HOSTS" in names
    assert refusal(http_listen=address, insecure=True) == names
    assert refusal(http_listen=address, http_hosts="registrar.example.edu") == encryption
    found = settings.load(http_listen=address, insecure=True, http_hosts="registrar.example.edu")
    assert found.http_listen == address


def test_one_message_names_both_addresses_that_need_tls() -> None:
    message = refusal(listen="0.0.0.0:1", http_listen="0.0.0.0:1", http_hosts="registrar.example.edu")
    lines = message.splitlines()
    assert [line.partition("=")[0] for line in lines] == ["REGISTRAR_LISTEN", "REGISTRAR_HTTP_LISTEN"]


def test_certificate_and_key_must_be_set_together() -> None:
    for name in ("cert.pem", "key.pem"):
        Path(name).write_text("")
    assert "must be set together" in refusal(tls_cert_file="cert.pem")
    assert "REGISTRAR_TLS_CLIENT_CA_FILE needs" in refusal(tls_client_ca_file="cert.pem")
    found = settings.load(listen="0.0.0.0:1", tls_cert_file="cert.pem", tls_key_file="key.pem")
    assert found.tls_key_file == Path("key.pem")


def test_roles_of_certificates_need_an_authority_that_checks_the_certificates() -> None:
    for name in ("cert.pem", "key.pem", "roles.toml"):
        Path(name).write_text("")
    found = refusal(tls_cert_file="cert.pem", tls_key_file="key.pem", cert_roles="roles.toml")
    assert found == "REGISTRAR_CERT_ROLES needs REGISTRAR_TLS_CLIENT_CA_FILE, which checks the certificates"


def test_misspelt_settings_are_unknown_and_names_of_the_client_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRAR_LISTN", "127.0.0.1:1")
    monkeypatch.setenv("REGISTRAR_TOKEN", "for the client")
    monkeypatch.setenv("REGISTRAR_CONNECT_TIMEOUT", "5s")
    Path(".env").write_text("REGISTRAR_LOGLEVEL=debug\n")
    assert settings.unknown_names(settings.environment()) == ["REGISTRAR_LISTN", "REGISTRAR_LOGLEVEL"]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_example_explains_every_setting_and_gives_its_default(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variable = f"REGISTRAR_{name.upper()}"
    explanation, default = example()[variable]
    assert explanation
    expected = settings.load()
    monkeypatch.setenv(variable, default)
    assert settings.load() == expected


def test_the_example_contains_only_known_names() -> None:
    assert settings.unknown_names(example()) == []
    assert not [name for name in example() if not name.startswith(settings.PREFIX)]


def example() -> dict[str, tuple[str, str]]:
    """Return the explanation and the default of each variable in ``.env.example``."""
    entries = re.findall(r"((?:^# .*\n)*)^#?(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return {variable: (explanation, default) for explanation, variable, default in entries}


def test_the_operations_document_names_every_setting() -> None:
    document = (ROOT / "docs" / "operations.md").read_text()
    assert not [name for name in Settings.model_fields if f"`REGISTRAR_{name.upper()}`" not in document]
