"""The overhead of the client: its calls and those of the bare stub alternate on one echo server.

The echo server does almost nothing, so the client's own time is the largest possible share of a call.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from bench.measurements import Sample
from bench.messages import student_id
from bench.meters import Meter
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import RegistrarClient

Enroll = Callable[[str, str], object]


def run(*, address: str, server: int, warm_up: float, seconds: float) -> list[dict[str, Any]]:
    """Run once and return two samples: of our client and of the stub."""
    with RegistrarClient(address) as client, grpc.insecure_channel(address) as channel:
        stub = EnrollmentServiceStub(channel)

        def ours(student: str, course: str) -> object:
            return client.enroll(student_id=student, course_id=course).enrollment_id

        def bare(student: str, course: str) -> object:
            request = pb.EnrollStudentRequest(student_id=student, course_id=course, request_id=str(uuid.uuid4()))
            return stub.EnrollStudent(request, timeout=10).enrollment.enrollment_id

        _drive((ours, bare), warm_up)
        meter = Meter(server)
        meter.begin()
        taken = _drive((ours, bare), seconds)
        # The server does the same for both.
        per_call = meter.end().per_call(sum(len(each.latencies) for each in taken))
        return [each.sample(per_call).as_dict() for each in taken]


@dataclass
class _Taken:
    """What the calls of one client took."""

    latencies: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def sample(self, per_call: dict[str, Any]) -> Sample:
        load = self.cpu_seconds / len(self.latencies) * 1e6
        return Sample.of(self.latencies, sum(self.latencies), **per_call | {"load_cpu_us_per_call": load})


def _drive(calls: Sequence[Enroll], seconds: float) -> list[_Taken]:
    taken = [_Taken() for _ in calls]
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        number += 1
        for call, each in zip(calls, taken, strict=True):
            begun, used = time.perf_counter(), time.process_time()
            answer = call(student_id(number), "C-1")
            each.latencies.append(time.perf_counter() - begun)
            each.cpu_seconds += time.process_time() - used
            if not answer:
                raise RuntimeError("The server answered without an enrollment.")
    return taken
