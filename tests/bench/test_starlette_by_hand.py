"""The baseline of HTTP answers the calls of the load as Registrar does, so that both do the same work."""

from __future__ import annotations

import asyncio
import re
import socket
import uuid
from collections.abc import Sequence
from http.client import HTTPResponse
from pathlib import Path
from typing import NamedTuple

from google.type.dayofweek_pb2 import MONDAY, TUESDAY, WEDNESDAY
from google.type.timeofday_pb2 import TimeOfDay

from bench import json_calls
from bench.processes import Server
from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.course_pb2 import Meeting
from tests.support.servers import calling, serving

COURSES = {"CS-1": MONDAY, "CS-2": TUESDAY, "CS-3": WEDNESDAY}
"""The courses and their days."""
VARYING = ("date", "content-length", "vary")
"""Headers that may differ: a time with zeros at its end is shorter, and the baseline compresses no answers."""
UUID_OR_TIME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z")


class Answer(NamedTuple):
    """The answer of a server without the ids and times that it made, and without the id of the student."""

    status: int
    headers: dict[str, str]
    body: str


def call(
    address: str, student_id: str, requests: Sequence[pb.EnrollStudentRequest | pb.ListCoursesRequest]
) -> list[Answer]:
    """Make calls one after the other on one connection, and return the answers."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        return [_call(connection, student_id, data) for data in json_calls.requests(address, requests)]


def _call(connection: socket.socket, student_id: str, data: bytes) -> Answer:
    connection.sendall(data)
    response = HTTPResponse(connection)
    response.begin()
    body = response.read().decode().replace(student_id, "the student")
    headers = {name.lower(): _masked(value) for name, value in response.getheaders() if name.lower() not in VARYING}
    return Answer(response.status, headers, _masked(body))


def _masked(text: str) -> str:
    return UUID_OR_TIME.sub("…", text)


def enrolling(student_id: str) -> list[pb.EnrollStudentRequest]:
    """Return the requests of a student for all courses; the last one is a retry."""
    made = [
        pb.EnrollStudentRequest(student_id=student_id, course_id=course_id, request_id=str(uuid.uuid4()))
        for course_id in COURSES
    ]
    return [*made, made[0]]


def listing(student_id: str) -> list[pb.ListCoursesRequest]:
    """Return the request for the courses of a student."""
    return [pb.ListCoursesRequest(student_id=student_id)]


async def test_the_baseline_answers_as_registrar_does(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, http_listen="127.0.0.1:0") as server, calling(server.address) as registrar:
        await registrar.add_student("s-1")
        await registrar.add_student("s-2")
        for course_id, day in COURSES.items():
            meetings = [Meeting(weekdays=[day], start_time=TimeOfDay(hours=9), end_time=TimeOfDay(hours=10))]
            await registrar.add_course(course_id, title="Ünïcode", credits="3", capacity=30, meetings=meetings)
        with Server(tmp_path, "by_hand", "bench.starlette_by_hand", database_url) as by_hand:
            callers = ((by_hand.http_address, "s-1"), (server.http_address, "s-2"))
            enrolled = [await asyncio.to_thread(call, *caller, enrolling(caller[1])) for caller in callers]
            listed = [await asyncio.to_thread(call, *caller, listing(caller[1])) for caller in callers]
    assert enrolled[0] == enrolled[1]
    assert [answer.status for answer in enrolled[0]] == [200, 200, 200, 200]
    assert listed[0] == listed[1]
    assert [answer.body.count('"credits":"3"') for answer in listed[0]] == [3]
