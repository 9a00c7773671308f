"""Every call that changes something has a request id: the caller's, or a new one."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar_client._request_ids import derived
from tests.support.client_fakes import METHODS, Driver, empty_answer, sent
from tests.support.client_samples import REQUEST_ID, SURFACE

CHANGING = sorted(name for name, method in METHODS.items() if "request_id" in method.input_type.fields_by_name)
PREVIEWED = sorted(name for name in CHANGING if "validate_only" in METHODS[name].input_type.fields_by_name)


@pytest.mark.parametrize("rpc", CHANGING)
def test_a_call_that_changes_something_gets_a_new_request_id(driver: Driver, rpc: str) -> None:
    name, arguments = SURFACE[rpc]
    driver.script.answers.extend([empty_answer(rpc)] * 2)
    driver.call(name, **arguments)
    driver.call(name, **arguments)
    first, second = (uuid.UUID(request.request_id) for request in driver.script.requests)
    assert first.version == second.version == 4
    assert first != second


@pytest.mark.parametrize("rpc", CHANGING)
def test_the_callers_request_id_is_kept(driver: Driver, rpc: str) -> None:
    name, arguments = SURFACE[rpc]
    answer = empty_answer(rpc)
    assert sent(driver, name, answer, **arguments, request_id=REQUEST_ID).request_id == REQUEST_ID


@pytest.mark.parametrize("rpc", PREVIEWED)
def test_a_preview_gets_no_request_id(driver: Driver, rpc: str) -> None:
    name, arguments = SURFACE[rpc]
    request = sent(driver, name, empty_answer(rpc), **arguments, validate_only=True)
    assert request.validate_only
    assert request.request_id == ""


@given(st.uuids(), st.integers(min_value=0))
def test_a_derived_id_is_a_uuid_of_version_5(operation: uuid.UUID, place: int) -> None:
    assert derived(operation, place) == derived(str(operation), place) == str(uuid.uuid5(operation, str(place)))
