"""Ctrl-C ends a wait for another thread, whenever it is pressed."""

from __future__ import annotations

import signal
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from registrar_client._stopping import outcome


def test_ctrl_c_ends_a_wait_that_the_signal_does_not_interrupt() -> None:
    """As when it comes between the last bytecode before the wait and the wait itself.

    The system delivers the signal to another thread here, so that it never interrupts the wait.
    """
    answer: Future[None] = Future()
    begun, ended = threading.Event(), threading.Event()

    def press() -> None:
        begun.wait()
        while sys._current_frames()[waiting].f_code is not threading.Condition.wait.__code__:
            time.sleep(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        ended.wait(30)
        answer.set_result(None)

    waiting = threading.get_ident()
    pressing = threading.Thread(target=press)
    pressing.start()
    begun.set()
    with pytest.raises(KeyboardInterrupt):
        outcome(answer)
    assert not answer.done()
    ended.set()
    pressing.join()


def test_the_outcome_may_be_an_error() -> None:
    answer: Future[None] = Future()
    answer.set_exception(TimeoutError("of the other thread"))
    with pytest.raises(TimeoutError, match="of the other thread"):
        outcome(answer)
