"""Every RPC has a method on both clients, with the same signature, precise types and documentation."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any, assert_type

import pytest
from google.api import field_behavior_pb2 as behavior
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

import registrar_client
from registrar_client import (
    AsyncPager,
    AsyncRegistrarClient,
    AsyncWatch,
    Checkpoint,
    Course,
    DeletedCourse,
    DeletedStudent,
    Enrolled,
    Enrollment,
    Event,
    Page,
    Pager,
    RegistrarClient,
    RegistrarError,
    RosterEntry,
    Settled,
    Student,
    StudentCourse,
    Swapped,
    Unenrolled,
    UpdatedCourse,
    Watch,
)
from registrar_client._from_wire import read
from tests.support.client_fakes import METHODS, SERVICES, Driver, empty_answer, method_of, sent
from tests.support.client_samples import SURFACE, filled

# Callers do not pass the mask. The client makes it from the passed arguments. A batch always returns its results.
NOT_PASSED = {"update_mask", "view"}

RESOURCE_CALLS = [
    ("CreateStudent", Student),
    ("UpdateStudent", Student),
    ("CreateCourse", Course),
    ("UpdateCourse", Course),
]


def test_every_rpc_has_a_method() -> None:
    assert set(SURFACE) == {method.name for service in SERVICES for method in service.methods}


@pytest.mark.parametrize("rpc", SURFACE)
def test_a_method_calls_its_rpc(driver: Driver, rpc: str) -> None:
    name, arguments = SURFACE[rpc]
    driver.script.answers.append(empty_answer(rpc))
    driver.call(name, **arguments)
    assert [attempt.rpc for attempt in driver.script.attempts] == [rpc]


@pytest.mark.parametrize("rpc", SURFACE)
def test_a_method_has_an_argument_for_every_field_that_callers_set(rpc: str) -> None:
    name, _ = SURFACE[rpc]
    accepted = set(inspect.signature(method_of(RegistrarClient(), name)).parameters)
    assert _settable(METHODS[rpc].input_type) - NOT_PASSED <= accepted


@pytest.mark.parametrize(("rpc", "kind"), RESOURCE_CALLS)
def test_every_field_that_callers_set_is_sent(driver: Driver, rpc: str, kind: Any) -> None:
    name, _ = SURFACE[rpc]
    resource = kind.__name__.lower()
    message: Any = METHODS[rpc].input_type.fields_by_name[resource].message_type
    value = read(kind, filled(GetMessageClass(message)))
    passed = {field: getattr(value, field) for field in _settable_of(message, creating=rpc.startswith("Create"))}
    request = sent(driver, name, empty_answer(rpc), **passed)
    received = read(kind, getattr(request, resource))
    assert {field: getattr(received, field) for field in passed} == passed
    if not rpc.startswith("Create"):
        assert set(request.update_mask.paths) == set(passed) - {f"{resource}_id", "etag"}


def _settable(message: Any) -> set[str]:
    names = set()
    for field in message.fields:
        if field.message_type is not None and field.name in ("student", "course"):
            creating = message.name.startswith("Create")
            names |= _settable_of(field.message_type, creating=creating)
        else:
            names.add(field.name)
    return names


def _settable_of(resource: Any, *, creating: bool) -> set[str]:
    return {field.name for field in resource.fields if not _is_output(field, creating=creating)}


def _is_output(field: FieldDescriptor, *, creating: bool) -> bool:
    return behavior.OUTPUT_ONLY in field.GetOptions().Extensions[behavior.field_behavior] or (
        creating and field.name == "etag"
    )


@pytest.mark.parametrize(("name", "_arguments"), SURFACE.values())
def test_both_clients_have_the_same_keyword_only_signature_and_documentation(
    name: str, _arguments: dict[str, Any]
) -> None:
    sync, asynchronous = method_of(RegistrarClient(), name), method_of(AsyncRegistrarClient(), name)
    ours, theirs = inspect.signature(sync), inspect.signature(asynchronous)
    assert ours.parameters == theirs.parameters
    options = [parameter for parameter in ours.parameters.values() if parameter.name != "writes"]
    assert {parameter.kind for parameter in options} == {inspect.Parameter.KEYWORD_ONLY}
    assert ours.return_annotation == theirs.return_annotation.removeprefix("Async")
    assert sync.__doc__ == asynchronous.__doc__
    assert "Raises:" in sync.__doc__
    assert all(f"{parameter}: " in sync.__doc__ for parameter in ours.parameters)
    assert sync.__name__ == asynchronous.__name__ == name.rpartition(".")[2]
    assert inspect.iscoroutinefunction(asynchronous) or theirs.return_annotation.startswith(
        ("AsyncPager", "AsyncWatch")
    )


@pytest.mark.parametrize(("name", "_arguments"), SURFACE.values())
def test_the_documented_errors_of_a_method_exist(name: str, _arguments: dict[str, Any]) -> None:
    _, _, raises = method_of(RegistrarClient(), name).__doc__.partition("Raises:")
    classes = re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", raises)
    assert "RegistrarError" in classes
    assert all(issubclass(getattr(registrar_client, each), RegistrarError) for each in classes)


def test_type_checkers_see_precise_types() -> None:
    """Mypy checks this test. Its inner functions do not run."""

    def precise(client: RegistrarClient, other: AsyncRegistrarClient) -> None:
        assert_type(client.enroll(student_id="s", course_id="c"), Enrolled)
        assert_type(client.unenroll(student_id="s", course_id="c"), Unenrolled)
        assert_type(client.swap(student_id="s", from_course_id="c", to_course_id="d"), Swapped)
        assert_type(client.complete(student_id="s", course_id="c", passed=None), Enrollment)
        assert_type(client.complete(enrollment_id="e", grade="A"), Enrollment)
        assert_type(client.record_completion(student_id="s", course_id="c", passed=False), Enrollment)
        assert_type(client.void_completion(enrollment_id="e"), Enrollment)
        assert_type(client.students.update(student_id="s", max_credits=None), Student)
        assert_type(client.students.delete(student_id="s", force=True), DeletedStudent)
        assert_type(client.courses.delete(course_id="c", force=True), DeletedCourse)
        assert_type(client.courses.settle(course_id="c", validate_only=True), Settled)
        assert_type(client.students.place_hold(student_id="s", code="BURSAR"), Student)
        assert_type(client.history.list(after_revision=7), Pager[Event])
        assert_type(client.list_courses(student_id="s"), Pager[StudentCourse])
        assert_type(next(client.list_roster(course_id="c").pages()), Page[RosterEntry])
        assert_type(other.list_roster(course_id="c"), AsyncPager[RosterEntry])
        assert_type(other.history.list(student_id="s"), AsyncPager[Event])
        assert_type(client.history.watch(after_revision=7), Watch[Event])
        assert_type(client.history.watch(checkpoints=False), Watch[Event])
        assert_type(client.history.watch(checkpoints=True), Watch[Event | Checkpoint])
        assert_type(other.history.watch(checkpoints=True), AsyncWatch[Event | Checkpoint])
        with client.history.watch() as watch:
            for event in watch:
                assert_type(event, Event)
        coroutine = other.courses.update(course_id="c", capacity=None)
        assert_type(coroutine, Coroutine[Any, Any, UpdatedCourse]).close()
        # Each of these calls is an error, because mypy reports unused `type: ignore` comments.
        client.enroll("s", "c")  # type: ignore[call-arg]
        client.enroll(student_id="s")  # type: ignore[call-arg]
        client.enroll(student_id=1, course_id="c")  # type: ignore[arg-type]
        client.enroll(student_id="s", course_id="c", seat=1)  # type: ignore[call-arg]
        client.swap(student_id="s", to_course_id="c")  # type: ignore[call-arg]
        client.complete(student_id="s", course_id="c", passed="A")  # type: ignore[arg-type]
        client.history.watch(7)  # type: ignore[call-overload]

    async def precise_async(client: AsyncRegistrarClient) -> None:
        assert_type(await client.enroll(student_id="s", course_id="c"), Enrolled)
        assert_type(await client.courses.settle(course_id="c"), Settled)
        assert_type(await client.swap(student_id="s", from_course_id="c", to_course_id="d"), Swapped)
        assert_type(await client.students.release_hold(student_id="s", code="BURSAR"), Student)
        async for event in client.history.list():
            assert_type(event, Event)
        async with client.history.watch() as watch:
            assert_type(watch, AsyncWatch[Event])
        async for item in client.history.watch(checkpoints=True):
            assert_type(item, Event | Checkpoint)
        async for student in client.students.list():
            assert_type(student, Student)
        async for page in client.courses.search().pages():
            assert_type(page, Page[Course])

    assert precise.__annotations__
    assert precise_async.__annotations__


def test_exported_names_are_public_and_documented() -> None:
    assert len(registrar_client.__all__) == len(set(registrar_client.__all__))
    for name in registrar_client.__all__:
        assert not name.startswith("_")
        assert getattr(registrar_client, name).__doc__


def test_the_package_has_no_other_public_names() -> None:
    """Imported submodules are the only other names."""
    public = {name for name in dir(registrar_client) if not name.startswith("_")}
    assert public - {"errors", "reasons", "testing"} == set(registrar_client.__all__)


def test_the_testing_module_names_the_missing_package() -> None:
    script = "import sys; sys.modules['sqlalchemy'] = None; import registrar_client.testing"
    failed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("ImportError: registrar_client.testing runs a real server")
    assert "sqlalchemy" in last
    assert last.endswith("pip install 'registrar-enrollment[server]'")


def test_the_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"registrar-enrollment": "1.2.3"}.__getitem__)
    assert registrar_client.__version__ == "1.2.3"


def test_the_version_of_a_client_that_is_not_installed_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    assert registrar_client.__version__ == "0+unknown"


def test_the_version_is_listed() -> None:
    assert dir(registrar_client).count("__version__") == 1


def test_an_attribute_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        registrar_client.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_client_loads_no_library_of_the_server() -> None:
    script = "import json, sys, registrar_client; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(output)}
    assert "registrar_client" in loaded
    assert not loaded & {
        "registrar_server",
        "sqlalchemy",
        "alembic",
        "msgspec",
        "pydantic",
        "structlog",
        "psycopg",
        "uvloop",
    }
    assert "importlib.metadata" not in json.loads(output)
