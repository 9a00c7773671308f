"""Signals: repeats within a second are one request to stop, and a later signal ends the server immediately.

SIGHUP makes the server read its files again. ``tests/server/test_server.py`` and ``tests/server/test_reload.py`` send
signals to real processes.
"""

from __future__ import annotations

import signal

import pytest

from registrar_server.stop_signals import StopSignals

SIGTERM, SIGINT, SIGHUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


class Handler:
    """The handler on a clock that the test sets, and what it has done."""

    def __init__(self) -> None:
        self.now = 100.0
        self.done: list[str] = []
        self._signals = StopSignals(
            lambda: self.done.append("stop"),
            lambda: self.done.append("end"),
            lambda: self.done.append("reload"),
            clock=lambda: self.now,
        )

    def receive(self, number: signal.Signals, after: float) -> None:
        self.now += after
        self._signals.receive(number)


@pytest.mark.parametrize("repeat", [SIGTERM, SIGINT, SIGHUP])
@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
def test_any_signal_within_a_second_of_the_first_is_ignored(first: signal.Signals, repeat: signal.Signals) -> None:
    handler = Handler()
    for number, after in ((first, 0.0), (repeat, 0.0), (repeat, 0.5), (repeat, 0.4)):
        handler.receive(number, after)
    assert handler.done == ["stop"]


@pytest.mark.parametrize("later", [SIGTERM, SIGINT])
@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
def test_a_signal_a_second_after_the_first_ends_the_server_immediately(
    first: signal.Signals, later: signal.Signals
) -> None:
    handler = Handler()
    handler.receive(first, 0.0)
    handler.receive(later, 0.9)
    handler.receive(later, 0.1)
    assert handler.done == ["stop", "end"]


def test_each_sighup_reads_the_files_again_and_never_stops_the_server() -> None:
    handler = Handler()
    for after in (0.0, 0.5, 20.0):
        handler.receive(SIGHUP, after)
    assert handler.done == ["reload", "reload", "reload"]


def test_the_signal_to_stop_counts_from_itself_and_not_from_an_earlier_sighup() -> None:
    handler = Handler()
    for number, after in ((SIGHUP, 0.0), (SIGTERM, 20.0), (SIGTERM, 0.1)):
        handler.receive(number, after)
    assert handler.done == ["reload", "stop"]


def test_a_server_that_stops_reads_nothing_again() -> None:
    """Nor does a late SIGHUP end it immediately."""
    handler = Handler()
    handler.receive(SIGTERM, 0.0)
    handler.receive(SIGHUP, 20.0)
    assert handler.done == ["stop"]
