"""The overhead of the client: its calls and those of the bare stub alternate on one echo server.

The echo server does almost nothing, so the client's own time is the largest possible share of a call.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from bench.measurements import Sample
from bench.messages import student_id
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import RegistrarClient

Enroll = Callable[[str, str], object]


def run(*, address: str, warm_up: float, seconds: float) -> list[dict[str, Any]]:
    """Run once and return two samples: of our client and of the stub."""
    with RegistrarClient(address) as client, grpc.insecure_channel(address) as channel:
        stub = EnrollmentServiceStub(channel)

        def ours(student: str, course: str) -> object:
            return client.enroll(student_id=student, course_id=course).enrollment_id

        def bare(student: str, course: str) -> object:
            request = pb.EnrollStudentRequest(student_id=student, course_id=course, request_id=str(uuid.uuid4()))
            return stub.EnrollStudent(request, timeout=10).enrollment.enrollment_id

        _drive((ours, bare), warm_up)
        return [Sample.of(latencies, sum(latencies)).as_dict() for latencies in _drive((ours, bare), seconds)]


def _drive(calls: Sequence[Enroll], seconds: float) -> list[list[float]]:
    latencies: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        number += 1
        for call, taken in zip(calls, latencies, strict=True):
            begun = time.perf_counter()
            answer = call(student_id(number), "C-1")
            taken.append(time.perf_counter() - begun)
            if not answer:
                raise RuntimeError("The server answered without an enrollment.")
    return latencies
