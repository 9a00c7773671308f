"""Both clients watch the history of real servers, and go on by themselves when these or the connections are lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from registrar_client import (
    Cancelled,
    Checkpoint,
    CredentialsInvalid,
    DeadlineExceeded,
    Event,
    EventType,
    InvalidField,
    Overloaded,
    RetryOptions,
    RevisionAhead,
    RoleRequired,
    Unavailable,
    _watching,  # It has the limit of silence.
)
from registrar_server.app import Server
from registrar_server.identity.identity import Verified
from registrar_server.identity.rejections import CredentialsRefused
from registrar_server.rpc import watchers
from registrar_server.rpc.watchers import WatchTimes
from tests.support.client_watches import KINDS, PATIENCE_S, Client, place_is_free, watching_client
from tests.support.identities import caller_of, identifying
from tests.support.network import network_to
from tests.support.outages import database_outage
from tests.support.relays import Cut, relay_to
from tests.support.servers import Log, server_process, serving

SLOW = RetryOptions(initial_backoff=100 * PATIENCE_S, max_backoff=100 * PATIENCE_S)
"""Those of a client that waits much longer than any test before it tries again."""

Connect = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


class Tokens:
    """Knows only the newest token, which is remembered for a moment."""

    newest = "token-0"

    def replace(self) -> None:
        """Revoke the token, and issue another one."""
        self.newest = f"token-{int(self.newest.removeprefix('token-')) + 1}"

    def takes(self, bearer: str) -> bool:
        """Return whether the bearer is one of these tokens."""
        return bearer.startswith("token-")

    async def verify(self, bearer: str, now: float) -> Verified:
        """Return an admin for the newest token."""
        is_known = bearer == self.newest
        return Verified(caller_of("admin") if is_known else CredentialsRefused("revoked"), now + 0.05)


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a client. The test runs once for each kind of client, and with gathering."""
    return lambda address, **options: watching_client(request.param, address, **options)


@pytest.fixture
async def server(sqlite_url: str) -> AsyncIterator[Server]:
    """A real server, which is empty."""
    async with serving(sqlite_url) as running:
        yield running


@pytest.fixture
async def client(connect: Connect, server: Server) -> AsyncIterator[Client]:
    """A client of the server. The test runs once for each kind of client, and with gathering."""
    async with connect(server.address) as opened:
        yield opened


class TestAWatch:
    async def test_without_a_revision_returns_what_is_written_after_it_has_begun(self, client: Client) -> None:
        await client.write("before")
        watch = await client.begin()
        await client.write("s-1", "s-2")
        assert await watch.take(2) == ["s-1", "s-2"]

    async def test_from_0_returns_everything_and_then_what_comes(self, client: Client) -> None:
        await client.write("s-1", "s-2")
        watch = client.watch(after_revision=0)
        assert await watch.take(2) == ["s-1", "s-2"]
        await client.write("s-3")
        assert await watch.take(1) == ["s-3"]
        assert [item.revision for item in watch.items] == [1, 2, 3]

    async def test_after_a_revision_leaves_out_what_was_before(self, client: Client) -> None:
        await client.write("s-1", "s-2", "s-3")
        assert await client.watch(after_revision=2).take(1) == ["s-3"]

    async def test_that_is_left_within_a_response_says_where_another_one_goes_on(self, client: Client) -> None:
        await client.write("s-1", "s-2", "s-3")
        left = client.watch(after_revision=0)
        await left.take(2)
        await left.close()
        assert await client.watch(after_revision=left.revision).take(1) == ["s-3"]

    async def test_returns_the_events_of_the_list(self, server: Server) -> None:
        async with watching_client("async", server.address) as client:
            await client.write("s-1", "s-2")
            watch = client.watch(after_revision=0)
            await watch.take(2)
            assert watch.items == [event async for event in client._client.history.list()]  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"student_id": "s-2"}, ["s-2"]),
            ({"types": [EventType.COURSE_CREATED]}, []),
            ({"course_id": "CS-101"}, []),
            ({"actor": "somebody"}, []),
            ({"types": [EventType.COURSE_CREATED, EventType.STUDENT_CREATED]}, ["s-1", "s-2", "s-3"]),
        ],
        ids=str,
    )
    async def test_returns_only_what_the_filters_let_through(
        self, client: Client, filters: dict[str, object], expected: list[str]
    ) -> None:
        await client.write("s-1", "s-2", "s-3")
        watch = client.watch(after_revision=0, checkpoints=True, **filters)
        while not isinstance(await watch.next(), Checkpoint):
            pass
        assert watch.ids == expected
        assert watch.revision == 3

    async def test_with_checkpoints_says_when_all_events_that_exist_are_returned(self, client: Client) -> None:
        await client.write("s-1", "s-2")
        watch = client.watch(after_revision=0, checkpoints=True)
        items = [await watch.next() for _ in range(3)]
        assert [type(item) for item in items] == [Event, Event, Checkpoint]
        assert items[2] == Checkpoint(revision=2)

    async def test_is_not_disturbed_by_others_of_the_same_client(self, client: Client) -> None:
        watches = [await client.begin() for _ in range(5)]
        await client.write("s-1")
        assert [await watch.take(1) for watch in watches] == [["s-1"]] * 5

    async def test_returns_thousands_of_events_in_order(self, connect: Connect, server: Server) -> None:
        ids = [f"s-{number}" for number in range(3000)]
        async with watching_client("async", server.address, timeout=PATIENCE_S) as writing:
            await asyncio.gather(*(writing.write(*ids[start::50]) for start in range(50)))
        async with connect(server.address) as client:
            watch = client.watch(after_revision=0)
            assert sorted(await watch.take(3000)) == sorted(ids)
        assert [item.revision for item in watch.items] == list(range(1, 3001))

    async def test_that_begins_before_the_block_returns_each_event_once(self, client: Client) -> None:
        await client.write("s-1", "s-2")
        watch = client.watch(after_revision=0)
        await watch.take(1)
        await watch.begin()
        assert await watch.take(1) == ["s-2"]


class TestARefusedWatch:
    async def test_has_not_reached_the_revision(self, client: Client) -> None:
        await client.write("s-1")
        with pytest.raises(RevisionAhead) as ahead:
            await client.begin(after_revision=7)
        assert ahead.value.revision == 1

    async def test_names_the_wrong_fields(self, client: Client) -> None:
        with pytest.raises(InvalidField) as refused:
            await client.watch(student_id="not an id", course_id="nor this").next()
        assert {violation.field for violation in refused.value.field_violations} == {"student_id", "course_id"}

    async def test_needs_a_role(self, connect: Connect, sqlite_url: str) -> None:
        async with identifying(sqlite_url) as server, connect(server.address, token="student:s-1") as client:
            with pytest.raises(RoleRequired):
                await client.begin()
            await client.begin(student_id="s-1")

    async def test_needs_right_credentials(self, connect: Connect, sqlite_url: str) -> None:
        async with identifying(sqlite_url) as server, connect(server.address, token="nonsense") as client:
            with pytest.raises(CredentialsInvalid):
                await client.begin()


class TestTooManyWatchers:
    async def test_are_refused_if_the_client_may_not_wait(self, connect: Connect, sqlite_url: str) -> None:
        async with (
            serving(sqlite_url, max_watchers=1) as server,
            connect(server.address, retry=RetryOptions(max_attempts=1)) as client,
        ):
            await client.begin()
            with pytest.raises(Overloaded) as refused:
                await client.begin()
        assert refused.value.retry_after == watchers.RETRY_AFTER_S

    async def test_wait_until_another_one_ends(
        self, connect: Connect, sqlite_url: str, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watchers, "RETRY_AFTER_S", 0.01)
        async with serving(sqlite_url, max_watchers=1) as server, connect(server.address) as client:
            first, second = await client.begin(), client.watch()
            beginning = asyncio.create_task(second.begin())
            await log.one("rpc", method="WatchEvents", reason="OVERLOADED")
            await first.close()
            await beginning
            await client.write("s-1")
            assert await second.take(1) == ["s-1"]


class TestAnInterruptedWatch:
    @pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
    async def test_goes_on_when_the_server_is_back(
        self, connect: Connect, database_url: str, tmp_path: Path, stop: signal.Signals
    ) -> None:
        async with server_process(database_url, tmp_path) as process:
            address = await process.address()
            async with connect(address) as client:
                await client.write("s-1", "s-2")
                watch = client.watch(after_revision=0)
                await watch.take(1)
                process.signal(stop)
                await process.wait()
                taking = asyncio.create_task(watch.take(3))
                async with server_process(database_url, tmp_path, LISTEN=address) as again:
                    await again.address()
                    await client.write("s-3", "s-4")
                    assert await taking == ["s-2", "s-3", "s-4"]
        assert watch.ids == ["s-1", "s-2", "s-3", "s-4"]

    async def test_goes_on_over_a_new_connection(self, connect: Connect, server: Server) -> None:
        with network_to(f"grpc://{server.address}/") as network:
            async with connect(network.url.split("/")[2]) as client:
                watch = await client.begin()
                for number in range(3):
                    taking = asyncio.create_task(watch.take(1))
                    await asyncio.to_thread(network.cut)
                    async with watching_client("async", server.address) as other:
                        await other.write(f"s-{number}")
                    assert await taking == [f"s-{number}"]
        assert watch.ids == ["s-0", "s-1", "s-2"]

    @pytest.mark.parametrize("status", grpc.StatusCode, ids=lambda status: status.name)
    async def test_goes_on_behind_a_proxy_that_ends_streams(
        self, connect: Connect, server: Server, status: grpc.StatusCode
    ) -> None:
        async with relay_to(server.address) as relay, connect(relay.address) as client:
            relay.cuts.extend([Cut(1, status), Cut(1, status), Cut(2, status)])
            watch = await client.begin()
            await client.write("s-1", "s-2", "s-3")
            assert await watch.take(3) == ["s-1", "s-2", "s-3"]
            assert len(relay.cuts) <= 1

    async def test_goes_on_behind_a_proxy_whose_server_is_silent(
        self, connect: Connect, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once before the first response of a stream, too."""
        monkeypatch.setattr(_watching, "SILENCE_S", 0.5)
        async with relay_to(server.address) as relay, connect(relay.address) as client:
            relay.cuts.extend([Cut(1, None), Cut(0, None)])
            watch = await client.begin()
            await client.write("s-1", "s-2")
            assert await watch.take(2) == ["s-1", "s-2"]
            assert not relay.cuts

    async def test_goes_on_when_the_database_is_back(
        self, connect: Connect, database_url: str, log: Log, request: pytest.FixtureRequest
    ) -> None:
        async with (
            serving(database_url, times=WatchTimes(poll=0.05)) as server,
            connect(server.address, timeout=PATIENCE_S) as client,
        ):
            await client.write("s-1")
            watch = client.watch(after_revision=0)
            await watch.take(1)
            taking = asyncio.create_task(watch.take(1))
            with database_outage(database_url, request):
                await log.several(2, "rpc", method="WatchEvents", reason="DATABASE_UNAVAILABLE")
            await client.write("s-2")
            assert await taking == ["s-2"]

    async def test_goes_on_with_the_next_token(self, connect: Connect, sqlite_url: str, log: Log) -> None:
        tokens = Tokens()
        async with (
            identifying(sqlite_url, tokens) as server,
            connect(server.address, token=lambda: tokens.newest) as client,
        ):
            watch = await client.begin()
            taking = asyncio.create_task(watch.take(1))
            tokens.replace()
            await log.one("rpc", method="WatchEvents", reason="CREDENTIALS_INVALID")
            await client.write("s-1")
            assert await taking == ["s-1"]

    async def test_fails_if_its_only_token_is_revoked(self, connect: Connect, sqlite_url: str) -> None:
        tokens = Tokens()
        async with identifying(sqlite_url, tokens) as server, connect(server.address, token=tokens.newest) as client:
            watch = await client.begin()
            tokens.replace()
            with pytest.raises(CredentialsInvalid):
                await watch.next()


class TestAServerThatDoesNotAnswer:
    async def test_ends_the_wait_for_the_beginning_at_the_timeout_of_the_client(
        self, connect: Connect, server: Server
    ) -> None:
        async with relay_to(server.address) as relay, connect(relay.address, timeout=0.3) as client:
            relay.cuts.append(Cut(0, None))
            with pytest.raises(DeadlineExceeded, match="did not begin to answer within the timeout"):
                await client.begin()

    async def test_ends_the_wait_to_go_on_at_the_timeout_of_the_call(self, connect: Connect, server: Server) -> None:
        async with relay_to(server.address) as relay, connect(relay.address) as client:
            relay.cuts.extend([Cut(1, grpc.StatusCode.UNAVAILABLE), Cut(0, None)])
            watch = await client.begin(timeout=1)
            with pytest.raises(DeadlineExceeded) as late:
                await watch.next()
        assert "The relay has ended the stream." in late.value.__notes__[0]

    async def test_was_never_reached(self, connect: Connect) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            async with connect(address, connect_timeout=0.3, timeout=2 * PATIENCE_S) as client:
                with pytest.raises(Unavailable, match=f"The server at {address} was never reached"):
                    await client.begin()


class TestAClosedWatch:
    async def test_ends_the_iteration_of_another_thread_or_task(self, client: Client, server: Server) -> None:
        watch = await client.begin()
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        await watch.close()
        assert await waiting is None
        await place_is_free(server)

    async def test_ends_at_once_while_the_server_is_away(self, connect: Connect, sqlite_url: str) -> None:
        async with serving(sqlite_url) as server, connect(server.address, retry=SLOW) as client:
            watch = await client.begin()
            pausing = client.announce_pauses()
            waiting = asyncio.create_task(watch.next())
            await server.stop(grace=0)
            await pausing.wait()
            await watch.close()
            assert await waiting is None

    async def test_returns_nothing_more_even_if_it_was_received(self, client: Client) -> None:
        await client.write("s-1", "s-2")
        watch = client.watch(after_revision=0)
        await watch.take(1)
        await watch.close()
        assert await watch.next() is None
        assert watch.revision == 1

    async def test_can_be_closed_before_it_begins_and_twice(self, client: Client) -> None:
        watch = client.watch()
        await watch.close()
        await watch.close()
        assert await watch.next() is None

    async def test_frees_its_place_at_the_server(self, client: Client, server: Server) -> None:
        watch = await client.begin()
        await watch.close()
        await place_is_free(server)


class TestAClosedClient:
    async def test_ends_its_watches_with_cancelled(self, client: Client, server: Server) -> None:
        watch = await client.begin()
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(Cancelled, match="The client was closed"):
            await waiting
        await place_is_free(server)
