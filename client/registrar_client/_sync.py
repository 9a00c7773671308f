"""The client for threads and scripts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from registrar_client import _course_calls, _enrollment_calls, _student_calls
from registrar_client._calls import Call, Rpc
from registrar_client._connection import (
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    Connection,
    Metadata,
    TlsOptions,
    call_metadata,
    positive_seconds,
)
from registrar_client._environment import arguments
from registrar_client._failures import from_rpc_error
from registrar_client._methods import paged, unary
from registrar_client._retry import Attempts, RetryOptions, Timing

Result = TypeVar("Result")


class Runner:
    """Carries out calls over a channel: within the timeout, with retries, raising our errors."""

    def __init__(self, channel: grpc.Channel, metadata: Metadata, timeout: float, retry: RetryOptions) -> None:
        self.timing = Timing()
        self.sleep: Callable[[float], None] = time.sleep
        self._methods = _Methods(channel)
        self._metadata = metadata
        self._timeout = timeout
        self._retry = retry

    def run(self, call: Call[Result], /) -> Result:
        """Carry out one call."""
        timeout = self._timeout if call.timeout is None else positive_seconds("timeout", call.timeout)
        method = self._methods[call.rpc]
        try:
            return call.read(method(call.request, timeout=timeout, metadata=self._metadata))
        except grpc.RpcError as error:
"""
