"""What a call says of its caller: bearer, and the person for whom the call is made."""

from __future__ import annotations

import pytest

from registrar_server.errors import Refusal
from registrar_server.identity.callers import ANYONE, Caller, Role
from registrar_server.identity.credentials import Credentials, read_credentials

READER = Caller("key:ada", frozenset([Role.READER]))


@pytest.mark.parametrize("value", ["Bearer rk_1", "bearer rk_1", "BEARER   rk_1  "])
def test_the_bearer_follows_its_scheme(value: str) -> None:
    assert read_credentials([("accept", "x"), ("authorization", value)]).bearer == "rk_1"


def test_no_authorization_is_no_bearer() -> None:
    assert read_credentials([("accept", "x")]).bearer == ""


@pytest.mark.parametrize(
    "values",
    [
        ["rk_1"],
        ["Bearer"],
        ["Bearer "],
        [""],
        ["Basic YWRhOng="],
        ["Bearer rk_1 rk_2"],
        ["Bearer rk_1, Bearer rk_1"],
        ["Bearer schlüssel"],
        ["Bearer rk_1\n"],
        ["Bearer rk_1", "Bearer rk_1"],
    ],
)
def test_anything_else_is_refused(values: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        _ = Credentials(values).bearer
    assert refused.value.reason == "CREDENTIALS_INVALID"
    assert "rk_1" not in f"{refused.value!r} {refused.value}"


def test_the_bearer_is_not_shown() -> None:
    credentials = read_credentials([("authorization", "Bearer hunter2"), ("registrar-on-behalf-of", "Ada")])
    assert "hunter2" not in f"{credentials} {credentials!r}"
    assert "Ada" in repr(credentials)


@pytest.mark.parametrize("name", ["Ada", "ada@example.edu", "Ada Lovelace", "x" * 128])
def test_a_caller_with_the_permission_names_a_person(name: str) -> None:
    assert Credentials(on_behalf_of=[name]).on_behalf(ANYONE).on_behalf_of == name


@pytest.mark.parametrize("names", [[""], [" "], ["Ada\n"], ["Zoë"], ["x" * 129], ["Ada", "Grace"], [" Ada"]])
def test_a_name_is_one_of_visible_characters(names: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        Credentials(on_behalf_of=names).on_behalf(ANYONE)
    assert refused.value.reason == "INVALID_FIELD"


def test_a_caller_without_the_permission_names_nobody() -> None:
    with pytest.raises(Refusal) as refused:
        Credentials(on_behalf_of=["Ada"]).on_behalf(READER)
    assert (refused.value.reason, refused.value.metadata) == ("ROLE_REQUIRED", {"role": "on_behalf_of"})
    assert Credentials().on_behalf(READER) is READER
