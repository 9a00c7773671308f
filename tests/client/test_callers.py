"""What clients say of their callers: tokens that change, and the people on whose behalf calls are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from registrar.v1 import batch_service_pb2, course_service_pb2, enrollment_service_pb2
from registrar_client import (
    AsyncRegistrarClient,
    BulkStopped,
    CredentialsInvalid,
    CredentialsMissing,
    DeadlineExceeded,
    InvalidField,
    RegistrarClient,
    RegistrarError,
    RoleRequired,
    writes,
)
from registrar_client._environment import arguments
from tests.support.client_fakes import AsyncDriver, Driver, Failure, SyncDriver, empty_answer
from tests.support.client_samples import SURFACE

AWAY = Failure(StatusCode.UNAVAILABLE)
DONE = enrollment_service_pb2.EnrollStudentResponse()
READ = enrollment_service_pb2.GetEnrollmentResponse()
SECRET = "rk_5ec4e7"
WRONG_TOKENS = ["", "two words", f"{SECRET}\n", "caf\u00e9", SECRET.encode(), None]
WRONG_NAMES = ["caf\u00e9", "line\n", "tab\tbed", " led", "trailing ", "x" * 129, 7, b"dean"]

MakeDriver = Callable[..., Driver]


def enroll(driver: Driver, **options: Any) -> None:
    driver.call("enroll", student_id="s-1", course_id="CS-101", **options)


def sent_tokens(driver: Driver) -> list[str]:
    return [attempt.metadata["authorization"].removeprefix("Bearer ") for attempt in driver.script.attempts]


def sent_names(driver: Driver) -> list[str | None]:
    return [attempt.metadata.get("registrar-on-behalf-of") for attempt in driver.script.attempts]


class TestACallableForTheToken:
    def test_is_called_before_every_attempt(self, make_driver: MakeDriver) -> None:
        driver: Driver = make_driver(token=lambda: f"token-{len(driver.script.attempts)}")
        driver.script.answers.extend([AWAY, AWAY, DONE])
        enroll(driver)
        assert sent_tokens(driver) == ["token-0", "token-1", "token-2"]

    def test_is_called_before_every_page(self, make_driver: MakeDriver) -> None:
        driver: Driver = make_driver(token=lambda: f"token-{len(driver.script.attempts)}")
        pages = [course_service_pb2.SearchCoursesResponse(next_page_token=token) for token in ("next", "")]
        driver.script.answers.extend(pages)
        driver.call("courses.search")
        assert sent_tokens(driver) == ["token-0", "token-1"]

    def test_is_not_called_before_the_first_call(self) -> None:
        def fail() -> str:
            raise AssertionError

        RegistrarClient(token=fail).close()
        AsyncRegistrarClient(token=fail)

    def test_that_fails_raises_its_error_unchanged_and_nothing_is_sent(self, make_driver: MakeDriver) -> None:
        failure = KeyError("the identity provider is away")

        def fail() -> str:
            raise failure

        driver = make_driver(token=fail)
        with pytest.raises(KeyError) as raised:
            driver.call("get_enrollment", enrollment_id="e-1")
        assert raised.value is failure
        assert driver.script.attempts == []

    def test_that_fails_before_a_retry_ends_the_call(self, make_driver: MakeDriver) -> None:
        def once() -> str:
            if driver.script.attempts:
                raise LookupError("no second token")
            return SECRET

        driver = make_driver(token=once)
        driver.script.answers.extend([AWAY, READ])
        with pytest.raises(LookupError, match="no second token"):
            driver.call("get_enrollment", enrollment_id="e-1")
        assert len(driver.script.attempts) == 1

    @pytest.mark.parametrize("make", [SyncDriver, AsyncDriver])
    def test_that_fails_stops_a_bulk_with_its_error_as_the_cause(self, make: MakeDriver) -> None:
        def fail() -> str:
            raise LookupError("no token")

        driver = make(token=fail)
        with pytest.raises(BulkStopped) as stopped:
            driver.call("bulk", writes=[writes.students.create()])
        assert isinstance(stopped.value.__cause__, LookupError)

    @pytest.mark.parametrize("wrong", WRONG_TOKENS, ids=repr)
    def test_that_returns_no_token_is_an_error_that_does_not_show_it(
        self, make_driver: MakeDriver, wrong: object
    ) -> None:
        driver = make_driver(token=lambda: wrong)
        with pytest.raises(ValueError, match="the callable for the token must return a non-empty str") as refused:
            driver.call("get_enrollment", enrollment_id="e-1")
        assert not wrong or str(wrong).strip() not in str(refused.value)
        assert driver.script.attempts == []

    def test_can_be_a_coroutine_function_for_asyncio(self) -> None:
        async def token() -> str:
            await asyncio.sleep(0)
            return f"token-{len(driver.script.attempts)}"

        driver = AsyncDriver(token=token)
        driver.script.answers.extend([AWAY, READ])
        driver.call("get_enrollment", enrollment_id="e-1")
        assert sent_tokens(driver) == ["token-0", "token-1"]

    def test_cannot_be_a_coroutine_function_for_threads(self) -> None:
        coroutines = []

        async def token() -> str:
            raise AssertionError

        def begin() -> Any:
            coroutines.append(token())
            return coroutines[0]

        driver = SyncDriver(token=begin)
        with pytest.raises(ValueError, match="the callable for the token must return a non-empty str"):
            driver.call("get_enrollment", enrollment_id="e-1")
        coroutines[0].close()

    def test_that_takes_too_long_ends_the_call_at_its_timeout(self) -> None:
        async def token() -> str:
            await asyncio.Event().wait()
            return SECRET

        driver = AsyncDriver(token=token)
        with pytest.raises(DeadlineExceeded, match="did not return within the timeout"):
            driver.call("get_enrollment", enrollment_id="e-1", timeout=0.01)
        assert driver.script.attempts == []

    def test_that_takes_too_long_leaves_the_request_id(self) -> None:
        """An earlier attempt may have made the change."""

        async def token() -> str:
            if driver.script.attempts:
                await asyncio.Event().wait()
            return SECRET

        driver = AsyncDriver(token=token)
        driver.script.answers.append(Failure(StatusCode.UNAVAILABLE))
        with pytest.raises(DeadlineExceeded) as late:
            driver.call("enroll", student_id="s-1", course_id="c-1", timeout=0.5)
        (attempt,) = driver.script.attempts
        assert late.value.request_id == attempt.request.request_id != ""

    def test_has_timeouts_of_its_own(self) -> None:
        """They do not look like the timeout of the call."""

        async def token() -> str:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
            return SECRET

        driver = AsyncDriver(token=token)
        with pytest.raises(TimeoutError):
            driver.call("get_enrollment", enrollment_id="e-1")

    def test_takes_its_time_from_the_timeout_of_the_call(self, make_driver: MakeDriver) -> None:
        def slowly() -> str:
            driver.script.time.sleep_for(4)
            return SECRET

        driver = make_driver(token=slowly)
        driver.script.answers.append(READ)
        driver.call("get_enrollment", enrollment_id="e-1", timeout=10)
        assert [attempt.timeout for attempt in driver.script.attempts] == [6]


class TestATokenFile:
    def test_is_read_again_for_every_attempt(self, make_driver: MakeDriver, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("first\n")
        driver = make_driver(token=arguments({"REGISTRAR_TOKEN_FILE": str(file)})["token"])
        driver.script.answers.extend([READ, READ])
        driver.call("get_enrollment", enrollment_id="e-1")
        file.write_text("second")
        driver.call("get_enrollment", enrollment_id="e-1")
        assert sent_tokens(driver) == ["first", "second"]

    @pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
    def test_may_end_with_one_line_break(self, make_driver: MakeDriver, tmp_path: Path, ending: str) -> None:
        file = tmp_path / "token"
        file.write_bytes(f"{SECRET}{ending}".encode())
        driver = make_driver(token=arguments({"REGISTRAR_TOKEN_FILE": str(file)})["token"])
        driver.script.answers.append(READ)
        driver.call("get_enrollment", enrollment_id="e-1")
        assert sent_tokens(driver) == [SECRET]

    @pytest.mark.parametrize("wrong", ["", "\n", f"{SECRET}\n\n", f"{SECRET}\n{SECRET}\n", f" {SECRET}", "caf\xe9"])
    def test_without_one_token_is_named_but_never_shown(self, tmp_path: Path, wrong: str) -> None:
        file = tmp_path / "token"
        file.write_text(wrong, encoding="latin-1")
        with pytest.raises(ValueError, match=f"{file} must contain one token") as refused:
            RegistrarClient.from_env({"REGISTRAR_TOKEN_FILE": str(file)})
        assert not wrong.strip() or wrong.strip() not in str(refused.value)

    def test_that_cannot_be_read_is_named_when_the_client_is_made(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            RegistrarClient.from_env({"REGISTRAR_TOKEN_FILE": str(tmp_path / "nowhere")})

    def test_that_is_lost_later_is_named_by_the_call(self, make_driver: MakeDriver, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(SECRET)
        driver = make_driver(token=arguments({"REGISTRAR_TOKEN_FILE": str(file)})["token"])
        file.unlink()
        with pytest.raises(FileNotFoundError, match=str(file)):
            driver.call("get_enrollment", enrollment_id="e-1")

    def test_excludes_a_token(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(SECRET)
        both = {"REGISTRAR_TOKEN": SECRET, "REGISTRAR_TOKEN_FILE": str(tmp_path / "token")}
        with pytest.raises(ValueError, match="REGISTRAR_TOKEN and REGISTRAR_TOKEN_FILE exclude each other") as refused:
            RegistrarClient.from_env(both)
        assert SECRET not in str(refused.value)

    def test_is_not_shown_by_the_client(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(SECRET)
        client = RegistrarClient.from_env({"REGISTRAR_TOKEN_FILE": str(tmp_path / "token")})
        assert repr(client) == "RegistrarClient('localhost:50051', plaintext)"


class TestOnBehalfOf:
    def test_of_the_client_is_sent_with_every_attempt(self, make_driver: MakeDriver) -> None:
        driver = make_driver(on_behalf_of="dean@example.edu")
        driver.script.answers.extend([AWAY, READ])
        driver.call("get_enrollment", enrollment_id="e-1")
        assert sent_names(driver) == ["dean@example.edu"] * 2

    @pytest.mark.parametrize("rpc", [rpc for rpc in SURFACE if rpc != "ListEvents"])
    def test_of_a_call_replaces_that_of_the_client(self, rpc: str) -> None:
        name, required = SURFACE[rpc]
        for make in (SyncDriver, AsyncDriver):
            driver = make(on_behalf_of="dean", token=SECRET)
            driver.script.answers.extend([empty_answer(rpc)] * 3)
            driver.call(name, **required, on_behalf_of="advisor")
            driver.call(name, **required)
            driver.call(name, **required, on_behalf_of="")
            assert sent_names(driver) == ["advisor", "dean", None]
            assert sent_tokens(driver) == [SECRET] * 3

    def test_of_a_gathered_call_is_sent_with_every_attempt(self, make_driver: MakeDriver) -> None:
        driver = make_driver(token=SECRET)
        driver.script.answers.extend([AWAY, DONE])
        enroll(driver, on_behalf_of="advisor")
        assert sent_names(driver) == ["advisor"] * 2

    def test_of_a_list_is_sent_with_every_page(self, driver: Driver) -> None:
        pages = [course_service_pb2.SearchCoursesResponse(next_page_token=token) for token in ("next", "")]
        driver.script.answers.extend(pages)
        driver.call("courses.search", on_behalf_of="advisor")
        assert sent_names(driver) == ["advisor"] * 2

    def test_is_a_filter_of_the_history(self, make_driver: MakeDriver) -> None:
        driver = make_driver(on_behalf_of="dean")
        driver.script.answers.append(empty_answer("ListEvents"))
        driver.call("history.list", on_behalf_of="advisor")
        (request,) = driver.script.requests
        assert request.on_behalf_of == "advisor"
        assert sent_names(driver) == ["dean"]

    def test_of_a_bulk_is_sent_with_every_chunk(self, make_driver: MakeDriver) -> None:
        driver = make_driver(on_behalf_of="dean")
        answer = batch_service_pb2.BatchWriteResponse()
        driver.script.answers.extend([answer] * 3)
        driver.call("bulk", writes=[writes.students.create()] * 2, chunk_size=1, on_behalf_of="advisor")
        driver.call("bulk", writes=[writes.students.create()])
        assert sent_names(driver) == ["advisor", "advisor", "dean"]

    @pytest.mark.parametrize("many", ["batch", "bulk"])
    def test_belongs_to_a_batch_and_not_to_its_writes(self, driver: Driver, many: str) -> None:
        write = writes.students.create(on_behalf_of="advisor")
        with pytest.raises(RegistrarError, match="must have no on_behalf_of: the call has one for all"):
            driver.call(many, writes=[write])
        assert driver.script.attempts == []

    @pytest.mark.parametrize("name", ["dean@example.edu", "Ada Lovelace", "!", "x" * 128])
    def test_is_visible_ascii(self, driver: Driver, name: str) -> None:
        driver.script.answers.append(READ)
        driver.call("get_enrollment", enrollment_id="e-1", on_behalf_of=name)
        assert sent_names(driver) == [name]

    @pytest.mark.parametrize("wrong", WRONG_NAMES, ids=repr)
    def test_of_a_client_is_refused_if_it_is_no_name(self, wrong: Any) -> None:
        for client in (RegistrarClient, AsyncRegistrarClient):
            with pytest.raises(ValueError, match="on_behalf_of must be a str of at most 128 visible ASCII characters"):
                client(on_behalf_of=wrong)

    @pytest.mark.parametrize("wrong", WRONG_NAMES, ids=repr)
    @pytest.mark.parametrize(
        ("call", "required"),
        [("get_enrollment", {"enrollment_id": "e-1"}), ("bulk", {"writes": ()}), ("history.watch", {})],
    )
    def test_of_a_call_is_refused_if_it_is_no_name(
        self, driver: Driver, wrong: Any, call: str, required: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidField) as refused:
            driver.call(call, **required, on_behalf_of=wrong)
        assert [violation.field for violation in refused.value.field_violations] == ["on_behalf_of"]
        assert driver.script.attempts == []


class TestARefusedCaller:
    @pytest.mark.parametrize("kind", [CredentialsMissing, CredentialsInvalid, RoleRequired])
    def test_is_not_tried_again(self, make_driver: MakeDriver, kind: type[RegistrarError]) -> None:
        """Another token of the callable may be right, but only the caller knows."""
        driver = make_driver(token=lambda: SECRET)
        driver.script.answers.append(Failure(kind.status, kind.reason))
        with pytest.raises(kind):
            driver.call("get_enrollment", enrollment_id="e-1")
        assert len(driver.script.attempts) == 1

    @pytest.mark.parametrize("kind", [CredentialsMissing, CredentialsInvalid])
    def test_learns_which_argument_to_pass(self, driver: Driver, kind: type[RegistrarError]) -> None:
        driver.script.answers.append(Failure(kind.status, kind.reason))
        with pytest.raises(kind) as refused:
            driver.call("get_enrollment", enrollment_id="e-1")
        (note,) = refused.value.__notes__
        assert "token= to the client" in note

    def test_learns_the_role_that_the_call_needs(self, driver: Driver) -> None:
        refusal = Failure(StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", metadata={"role": "registrar"})
        driver.script.answers.append(refusal)
        with pytest.raises(RoleRequired) as refused:
            driver.call("get_enrollment", enrollment_id="e-1")
        assert refused.value.role == "registrar"
        assert refused.value.metadata == {"role": "registrar"}

    def test_learns_no_role_from_a_server_that_names_none(self) -> None:
        assert RoleRequired("no").role == ""
