"""When log records become lines: together after 20 ms, warnings and errors at once, and all of them at the end."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from registrar_server.log_formats import JsonFormat
from registrar_server.log_records import DELAY_S, LATENESS_S, LogRecords


class Stream(io.StringIO):
    """A stream that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []
        """The events of each write."""

    def write(self, text: str) -> int:
        self.writes.append([json.loads(line)["event"] for line in text.splitlines()])
        return len(text)


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def nanoseconds(self) -> int:
        return int(self.seconds * 1e9)

    def now(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def records(stream: Stream, clock: Clock) -> LogRecords:
    return LogRecords(stream, JsonFormat(), clock.nanoseconds)


@pytest.fixture
async def loop_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the test, which now is the event loop's too."""
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.now)
    return clock


async def turn() -> None:
    """Let the event loop run what is due."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_records_of_20_ms_are_one_write(records: LogRecords, stream: Stream, loop_clock: Clock) -> None:
    records.add("info", "first", {})
    loop_clock.seconds += DELAY_S / 2
    records.add("debug", "second", {})
    await turn()
    assert stream.writes == []
    loop_clock.seconds += DELAY_S / 2 + 0.001
    await turn()
    assert stream.writes == [["first", "second"]]


async def test_the_next_records_wait_for_another_20_ms(records: LogRecords, stream: Stream, loop_clock: Clock) -> None:
    for number in range(3):
        records.add("info", f"record {number}", {})
        await turn()
        assert len(stream.writes) == number
        loop_clock.seconds += DELAY_S + 0.001
        await turn()
    assert stream.writes == [["record 0"], ["record 1"], ["record 2"]]


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
async def test_a_warning_or_an_error_is_written_at_once_after_the_records_before_it(
    records: LogRecords, stream: Stream, level: str
) -> None:
    records.add("info", "before", {})
    records.add(level, "urgent", {})
    assert stream.writes == [["before", "urgent"]]
    records.add("info", "after", {})
    records.write_out()
    assert stream.writes[1:] == [["after"]]


async def test_a_line_has_the_time_of_its_call(clock: Clock) -> None:
    stream = io.StringIO()
    records = LogRecords(stream, JsonFormat(), clock.nanoseconds)
    records.add("info", "first", {})
    clock.seconds += 0.01
    records.add("info", "second", {})
    records.write_out()
    times = [json.loads(line)["time"] for line in stream.getvalue().splitlines()]
    assert times == ["1970-01-01T00:16:40.000000Z", "1970-01-01T00:16:40.010000Z"]


def test_without_an_event_loop_every_record_is_written_at_once(records: LogRecords, stream: Stream) -> None:
    records.add("info", "first", {})
    records.add("info", "second", {})
    assert stream.writes == [["first"], ["second"]]


async def test_a_thread_leaves_its_record_to_the_loop_that_will_write_soon(records: LogRecords, stream: Stream) -> None:
    records.add("info", "in the loop", {})
    await asyncio.to_thread(records.add, "info", "in a thread", {})
    records.add("info", "in the loop again", {})
    records.write_out()
    assert stream.writes == [["in the loop", "in a thread", "in the loop again"]]


async def test_a_thread_writes_its_record_itself_if_no_loop_will(records: LogRecords, stream: Stream) -> None:
    await asyncio.to_thread(records.add, "info", "in a thread", {})
    assert stream.writes == [["in a thread"]]


async def test_a_loop_that_is_late_writes_at_the_next_record(
    records: LogRecords, stream: Stream, loop_clock: Clock
) -> None:
    records.add("info", "first", {})
    loop_clock.seconds += DELAY_S + LATENESS_S / 2
    records.add("info", "second", {})
    assert stream.writes == []
    loop_clock.seconds += LATENESS_S / 2
    records.add("info", "third", {})
    assert stream.writes == [["first", "second", "third"]]


async def test_a_thread_writes_for_a_loop_that_is_late(records: LogRecords, stream: Stream, clock: Clock) -> None:
    records.add("info", "in the loop", {})
    clock.seconds += DELAY_S + LATENESS_S
    thread = threading.Thread(target=records.add, args=("info", "in a thread", {}))
    thread.start()
    thread.join()
    assert stream.writes == [["in the loop", "in a thread"]]


def test_records_that_a_stopped_loop_leaves_are_written_by_the_next_one_that_is_due(
    records: LogRecords, stream: Stream, clock: Clock
) -> None:
    async def add() -> None:
        records.add("info", "in the loop", {})

    asyncio.run(add())
    assert stream.writes == []
    clock.seconds += DELAY_S + LATENESS_S
    records.add("info", "later", {})
    assert stream.writes == [["in the loop", "later"]]


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Let Python switch between threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("frequent_switches")
async def test_a_loop_and_threads_lose_and_reorder_nothing(stream: Stream) -> None:
    """Records are added while others are written; the real clock sets the moments."""
    records = LogRecords(stream, JsonFormat())

    def add(thread: str) -> None:
        for number in range(1_000):
            records.add("warning" if number % 50 == 0 else "info", f"{thread} {number}", {})

    adding = asyncio.gather(*(asyncio.to_thread(add, f"thread-{number}") for number in range(3)))
    for number in range(1_000):
        records.add("info", f"loop {number}", {})
        await asyncio.sleep(0)
    await adding
    records.write_out()
    written = [event.split() for events in stream.writes for event in events]
    for source in ("thread-0", "thread-1", "thread-2", "loop"):
        assert [int(number) for name, number in written if name == source] == list(range(1_000))


def test_a_value_that_logs_while_it_is_rendered_blocks_nothing(records: LogRecords, stream: Stream) -> None:
    """A finalizer may do the same: it runs in whatever thread makes the garbage collection."""

    class Talkative:
        def __str__(self) -> str:
            records.add("error", "from inside", {})
            return "text"

    records.add("info", "outer", {"value": Talkative()})
    assert stream.writes == [["outer"], ["from inside"]]


async def test_a_record_that_waits_keeps_no_frames_of_a_traceback(records: LogRecords, stream: Stream) -> None:
    class Large:
        """A variable of the function that fails."""

    def fail() -> weakref.ref[Large]:
        large = Large()
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            records.add("info", "failed", {"exc_info": True})
        return weakref.ref(large)

    assert fail()() is None
    records.write_out()
    assert stream.writes == [["failed"]]


def test_a_closed_stream_does_not_break_callers(clock: Clock) -> None:
    stream = io.StringIO()
    records = LogRecords(stream, JsonFormat(), clock.nanoseconds)
    stream.close()
    records.add("info", "lost", {})
    records.add("error", "lost too", {})


def test_lines_are_written_again_once_a_stream_works_again(clock: Clock) -> None:
    class Broken(Stream):
        error: OSError | None = BrokenPipeError()

        def write(self, text: str) -> int:
            if self.error:
                raise self.error
            return super().write(text)

    stream = Broken()
    records = LogRecords(stream, JsonFormat(), clock.nanoseconds)
    records.add("error", "lost", {})
    stream.error = None
    records.add("info", "written", {})
    assert stream.writes == [["written"]]


SCRIPT = """
import asyncio, os, signal, structlog
from registrar_server import logs

logs.configure("json")
log = structlog.get_logger()

async def main():
    {statements}

asyncio.run(main())
"""


def run(statements: str, stderr: int | IO[str] = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Run statements in the event loop of a new process that logs."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT.format(statements=statements)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=False)


def events(ended: subprocess.CompletedProcess[str]) -> list[Any]:
    return [json.loads(line)["event"] for line in ended.stderr.splitlines()]


def test_the_end_of_the_process_writes_the_records_that_wait() -> None:
    ended = run("log.info('first'); log.info('last')")
    assert (ended.returncode, events(ended)) == (0, ["first", "last"])


def test_an_exit_with_a_failure_writes_them_too() -> None:
    ended = run("log.info('first'); raise SystemExit(3)")
    assert (ended.returncode, events(ended)) == (3, ["first"])


def test_write_out_writes_the_records_before_an_exit_that_runs_no_cleanup() -> None:
    ended = run("log.info('first'); logs.write_out(); log.info('lost'); os._exit(4)")
    assert (ended.returncode, events(ended)) == (4, ["first"])


def test_a_killed_process_has_written_its_warnings_and_what_came_before() -> None:
    statements = "log.info('first'); log.warning('second'); log.info('last'); os.kill(os.getpid(), signal.SIGKILL)"
    ended = run(statements)
    assert ended.returncode == -signal.SIGKILL
    assert events(ended)[:2] == ["first", "second"]


def test_a_process_writes_its_records_while_its_loop_waits() -> None:
    """The loop's own timer writes them: the process is killed as soon as its line is read."""
    script = SCRIPT.format(statements="log.info('first'); await asyncio.Event().wait()")
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        process.kill()
    assert json.loads(line)["event"] == "first"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="This system has no /dev/full.")
def test_a_full_disk_does_not_break_callers() -> None:
    with Path("/dev/full").open("w") as full:
        ended = run("log.info('lost'); log.error('lost'); print('goes on')", full)
    assert ended.stdout == "goes on\n"
