"""The table of roles has every RPC, and refuses everything else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from registrar_server.errors import Reason, Refusal
from registrar_server.identity.callers import Caller, Permission, Role, with_contained
from registrar_server.rpc.access import ACCESS, check_role
from registrar_server.rpc.table import METHODS

DOCUMENT = Path(__file__).parents[2] / "docs" / "identity.md"
ALL_ROLES = Caller("key:everything", with_contained(Role), frozenset(Permission), "s-1")


def test_every_rpc_has_a_row_and_nothing_else_has() -> None:
    assert sorted(ACCESS) == sorted(name for methods in METHODS.values() for name in methods)


def test_what_is_not_in_the_table_is_refused_to_every_role() -> None:
    with pytest.raises(Refusal) as caught:
        check_role(ALL_ROLES, "DropDatabase")
    assert caught.value.reason is Reason.ROLE_REQUIRED


@pytest.mark.parametrize(
    ("given", "contained"),
    [
        ([], set()),
        ([Role.STUDENT], {Role.STUDENT}),
        ([Role.READER], {Role.READER}),
        ([Role.REGISTRAR], {Role.READER, Role.REGISTRAR}),
        ([Role.ADMIN], {Role.READER, Role.REGISTRAR, Role.ADMIN}),
        ([Role.STUDENT, Role.READER], {Role.STUDENT, Role.READER}),
        ([Role.STUDENT, Role.ADMIN], {Role.STUDENT, Role.READER, Role.REGISTRAR, Role.ADMIN}),
    ],
)
def test_each_role_of_the_staff_contains_the_lower_ones(given: list[Role], contained: set[Role]) -> None:
    """No role of the staff makes a caller a student."""
    assert with_contained(given) == contained


def test_the_document_has_the_same_table() -> None:
    """``docs/identity.md`` names each RPC once, with its role and whether students may make the call."""
    rows = re.findall(r"^\| ([A-Z]\w+(?:, \w+)*) \| `(\w+)` \| (.+) \|$", DOCUMENT.read_text(), re.M)
    listed = [(name, role, student != "no") for names, role, student in rows for name in names.split(", ")]
    assert sorted(listed) == sorted(
        (name, access.role.value, access.student is not None) for name, access in ACCESS.items()
    )
