"""The programs in ``examples`` work against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import datetime as dt
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from registrar_client import (
    AlreadyExists,
    AsyncRegistrarClient,
    Course,
    EnrollmentState,
    Event,
    FailedPrecondition,
    Meeting,
    NotFound,
    RegistrarClient,
    Weekday,
)
from tests.support import semester
from tests.support.csv_terms import write_term
from tests.support.servers import server_process, serving
from tests.support.subprocess_environment import environment_without

EXAMPLES = Path(__file__).parents[1] / "examples"
KILLS = 6
REFUSED = "file,line,reason,message"

Rows = list[tuple[str, str, str, str]]
"""Enrollments as a mirror has them: their ids, courses, students and states."""


def command(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / program), *map(str, arguments)]


def target(address: str) -> dict[str, str]:
    return {**environment_without("REGISTRAR_"), "REGISTRAR_TARGET": address}


def run(address: str, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(program, *arguments), env=target(address), capture_output=True, text=True, check=False
    )


def operation_id(output: str) -> str:
    """Return the id with which a program says that it can be continued."""
    found = re.search(r"--operation-id ([0-9a-f-]{36})$", output, re.MULTILINE)
    assert found, output
    return found[1]


def enrollments(address: str) -> list[tuple[str, str, str]]:
    with RegistrarClient(address) as registrar:
        return [(one.student_id, one.course_id, str(one.state)) for one in registrar.list_enrollments()]


async def test_a_term_is_loaded_and_its_refused_rows_are_in_a_file(database_url: str, tmp_path: Path) -> None:
    write_term(tmp_path)
    async with serving(database_url) as server:
        loading = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path)
        assert loading.returncode == 0, loading.stderr
        assert "4 rows done" in loading.stdout
        assert "1 refused: COURSE_FULL" in loading.stdout
        assert loading.stderr.endswith("4 rows done, 2 refused\n")
        assert (tmp_path / "refused.csv").read_text().splitlines() == [
            REFUSED,
            'enrollments.csv,3,COURSE_FULL,"The only seat is taken in ""ALG-1""."',
            'enrollments.csv,4,COURSE_NOT_FOUND,"There is no course ""ALG-2""."',
        ]
        assert await asyncio.to_thread(enrollments, server.address) == [("t-1", "ALG-1", "ENROLLED")]


async def test_a_second_run_makes_only_the_rows_that_were_refused(database_url: str, tmp_path: Path) -> None:
    """What others have changed since the first run stays so: the student who left the course is not enrolled again."""
    write_term(tmp_path)
    async with serving(database_url) as server:
        first = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path)
        arguments = ("load_term.py", tmp_path, "--operation-id", operation_id(first.stdout))
        await asyncio.to_thread(leave, server.address, "t-1", "ALG-1")
        rows = tmp_path / "enrollments.csv"
        rows.write_text(rows.read_text().replace("ALG-2", "ALG-1"))
        loading = await asyncio.to_thread(run, server.address, *arguments)
        assert "6 rows done" in loading.stdout
        assert (tmp_path / "refused.csv").read_text().splitlines() == [REFUSED]
        assert await asyncio.to_thread(enrollments, server.address) == [
            ("t-1", "ALG-1", "DROPPED"),
            ("t-2", "ALG-1", "ENROLLED"),
        ]


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    loading = run("127.0.0.1:1", "load_term.py", tmp_path / "none")
    assert loading.returncode == 2
    assert "none is not a folder" in loading.stderr


async def test_the_command_to_continue_can_be_pasted(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "Fall 2026"
    folder.mkdir()
    write_term(folder)
    async with serving(sqlite_url) as server:
        loading = await asyncio.to_thread(run, server.address, "load_term.py", folder)
    continuing = shlex.split(loading.stdout.splitlines()[-1].partition(": ")[2])
    assert continuing[:-1] == ["python", "examples/load_term.py", str(folder), "--operation-id"]


async def test_a_load_that_ctrl_c_interrupts_says_how_to_continue(database_url: str, tmp_path: Path) -> None:
    """The load reads its last file from a pipe, and is interrupted while it waits for more than the first rows."""
    write_term(tmp_path)
    header, *rows = ["student_id,course_id", *["t-1,ALG-1"] * 1_500]
    pipe = tmp_path / "enrollments.csv"
    pipe.unlink()
    os.mkfifo(pipe)
    async with serving(database_url) as server:
        # Opened for reading too, so that opening it does not wait for the program.
        with os.fdopen(os.open(pipe, os.O_RDWR), "w", buffering=1) as writer:
            writer.write("\n".join([header, *rows[:1_000], ""]))
            loading = await asyncio.create_subprocess_exec(
                *command("load_term.py", tmp_path), env=target(server.address), stderr=asyncio.subprocess.PIPE
            )
            assert loading.stderr
            assert await loading.stderr.readline() == b"500 rows done, 0 refused\n"
            loading.send_signal(signal.SIGINT)
            writer.write(f"{rows[0]}\n")  # A program that was just about to wait for a row notices the signal now.
            said = (await loading.stderr.read()).decode()
            assert await loading.wait() == 130
        pipe.unlink()
        pipe.write_text("\n".join([header, *rows, ""]))
        again = ("--operation-id", operation_id(said))
        continued = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path, *again)
        assert "1,503 rows done" in continued.stdout
        assert await asyncio.to_thread(enrollments, server.address) == [("t-1", "ALG-1", "ENROLLED")]


@pytest.mark.parametrize(
    ("file", "row", "said"),
    [
        ("courses.csv", "ALG-2,Algebra,many", "courses.csv, line 3: invalid literal for int()"),
        ("students.csv", "t-3,Emmy,Noether", "students.csv, line 4: "),
    ],
    ids=["a value that is no number", "a value without a column"],
)
async def test_a_row_that_cannot_be_read_stops_the_load(
    file: str, row: str, said: str, sqlite_url: str, tmp_path: Path
) -> None:
    """The rows before it are made, and the program says how to continue when it is corrected."""
    write_term(tmp_path)
    with (tmp_path / file).open("a") as writer:
        writer.write(f"{row}\n")
    async with serving(sqlite_url) as server:
        loading = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path)
        assert loading.returncode == 1
        assert said in loading.stderr
        write_term(tmp_path)
        again = ("--operation-id", operation_id(loading.stderr))
        continued = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path, *again)
        assert "4 rows done" in continued.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"student_id,given_name\nt-1,Andr\xe9\n",
            "students.csv, after line 0: 'utf-8' codec can't decode byte 0xe9",
        ),
        (b"student_id\nt-1\n" + b"x" * 200_000, "students.csv, after line 2: field larger than field limit"),
    ],
    ids=["another encoding", "no table"],
)
async def test_a_file_that_cannot_be_read_is_named(content: bytes, said: str, sqlite_url: str, tmp_path: Path) -> None:
    write_term(tmp_path)
    (tmp_path / "students.csv").write_bytes(content)
    async with serving(sqlite_url) as server:
        loading = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path)
    assert loading.returncode == 1
    assert said in loading.stderr


async def test_a_load_reads_limits_and_meetings(sqlite_url: str, tmp_path: Path) -> None:
    write_term(tmp_path)
    (tmp_path / "courses.csv").write_text(
        "course_id,capacity,waitlist_capacity,meetings\n"
        "ALG-1,1,5,MONDAY FRIDAY 09:00-10:30; TUESDAY 13:00-14:00\n"
        "ALG-2,,,MONDAY 10:00-11:00\n"
    )
    async with serving(sqlite_url) as server:
        loading = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path)
        assert loading.returncode == 0, loading.stderr
        first, second = await asyncio.to_thread(courses, server.address)
    assert (first.capacity, first.waitlist_capacity, len(first.meetings)) == (1, 5, 2)
    assert (second.capacity, second.waitlist_capacity) == (None, 0)
    assert second.meetings == (Meeting(weekdays=(Weekday.MONDAY,), start_time=dt.time(10), end_time=dt.time(11)),)


@semester.needs_semester
async def test_the_courses_of_a_real_semester_are_loaded(sqlite_url: str, tmp_path: Path) -> None:
    """Each of 500 students wishes for four of its courses, and every wish is granted or refused."""
    offerings = semester.read()
    write_semester(tmp_path, offerings)
    async with serving(sqlite_url) as server:
        loading = await asyncio.to_thread(run, server.address, "load_term.py", tmp_path)
        assert loading.returncode == 0, loading.stderr
        loaded = {course.course_id: course for course in await asyncio.to_thread(courses, server.address)}
        with (tmp_path / "refused.csv").open(newline="") as file:
            refused = list(csv.DictReader(file))
        seats = len(await asyncio.to_thread(enrollments, server.address))
    assert {key: course.title for key, course in loaded.items()} == {str(one["crn"]): one["title"] for one in offerings}
    assert seats + len(refused) == 2_000


async def test_a_schedule_is_previewed_with_all_that_stands_in_its_way(database_url: str) -> None:
    async with serving(database_url) as server:
        await asyncio.to_thread(make_schedule, server.address)
        preview = await asyncio.to_thread(run, server.address, "preview_schedule.py", "p-1", "P-1", "P-2", "P-9")
        assert preview.returncode == 1
        assert preview.stdout.splitlines() == [
            "P-1: ENROLLED",
            "P-2: refused",
            '    "P-2" meets at the same time as "P-1": Monday 09:30-10:00.',
            '    With the 2 credits of "P-2", student "p-1" would take 4 credits in the term; the most allowed is 3.',
            "P-9: refused",
            '    There is no course "P-9".',
        ]
        assert await asyncio.to_thread(enrollments, server.address) == []


async def test_a_schedule_is_taken_as_a_whole_or_not_at_all(database_url: str) -> None:
    async with serving(database_url) as server:
        await asyncio.to_thread(make_schedule, server.address)
        refused = await asyncio.to_thread(run, server.address, "preview_schedule.py", "--enroll", "p-1", "P-1", "P-2")
        assert refused.returncode == 1
        assert await asyncio.to_thread(enrollments, server.address) == []
        taken = await asyncio.to_thread(run, server.address, "preview_schedule.py", "--enroll", "p-1", "P-1", "P-3")
        assert taken.stdout.splitlines() == ["P-1: ENROLLED", "P-3: ENROLLED", "p-1 is enrolled."]
        assert len(await asyncio.to_thread(enrollments, server.address)) == 2


def test_a_schedule_is_not_previewed_without_a_server() -> None:
    preview = run("127.0.0.1:1", "preview_schedule.py", "p-1", "P-1")
    assert preview.returncode == 1
    assert "Nothing was changed: " in preview.stderr


async def test_a_mirror_has_the_rosters_wherever_it_and_the_server_are_killed(
    database_url: str, tmp_path: Path
) -> None:
    """Both are killed again and again while enrollments change.

    After each kill the mirror has all events up to its position and no others.
    """
    random, mirror, ended = Random(14), tmp_path / "mirror.db", asyncio.Event()
    left: list[tuple[int, Rows]] = []
    async with contextlib.AsyncExitStack() as servers:
        server = await servers.enter_async_context(server_process(database_url, tmp_path))
        address = await server.address()
        changing = asyncio.create_task(change_enrollments(address, random, ended))
        for number in range(KILLS):
            async with following(address, mirror) as program:
                await reach(mirror, position(mirror) + random.randint(0, 60), program)
                if number == 2:
                    await server.kill()
                    restarting = server_process(database_url, tmp_path, LISTEN=address)
                    server = await servers.enter_async_context(restarting)
                    await server.address()
                    await reach(mirror, position(mirror) + random.randint(1, 60), program)
            left.append((position(mirror), mirrored(mirror)))
        ended.set()
        await changing
        async with following(address, mirror) as program:
            await asyncio.to_thread(enroll_more, address)  # A mirror that has this too belongs to a program that runs.
            head, rosters = await asyncio.to_thread(rosters_of, address)
            await reach(mirror, head, program)
            program.send_signal(signal.SIGINT)
            assert await program.communicate() == (b"", b"")
            assert program.returncode == 0
        events = await asyncio.to_thread(history, address)
    for reached, rows in left:
        assert rows == replayed(events, reached)
    assert position(mirror) == head
    assert mirrored(mirror) == rosters
    assert {state for *_, state in rosters} >= {"ENROLLED", "WAITLISTED", "DROPPED", "COMPLETED"}


async def test_a_mirror_does_not_go_on_with_an_older_backup(sqlite_url: str, tmp_path: Path) -> None:
    mirror, backup = tmp_path / "mirror.db", tmp_path / "backup.db"
    shutil.copy(sqlite_url.removeprefix("sqlite:///"), backup)
    async with serving(sqlite_url) as server:
        await asyncio.to_thread(make_schedule, server.address)
        async with following(server.address, mirror) as program:
            await reach(mirror, 4, program)
    async with serving(f"sqlite:///{backup}") as server:
        again = await asyncio.to_thread(run, server.address, "follow.py", mirror)
    assert again.returncode == 1
    assert again.stderr.startswith("The history has not reached revision 4;")
    assert f"Delete {mirror} to begin a new mirror." in again.stderr
    assert "Traceback" not in again.stderr


def test_a_mirror_says_that_it_cannot_reach_the_server(tmp_path: Path) -> None:
    following = run("127.0.0.1:1", "follow.py", tmp_path / "mirror.db")
    assert following.returncode == 1
    assert following.stderr.endswith("Run the program again to go on.\n")
    assert "Traceback" not in following.stderr


@contextlib.asynccontextmanager
async def following(address: str, mirror: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the program that mirrors rosters, and kill it at the end of the ``with`` block if it still runs."""
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        *command("follow.py", mirror), env=target(address), stdout=pipe, stderr=pipe
    )
    try:
        yield program
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.communicate()


async def reach(mirror: Path, revision: int, program: asyncio.subprocess.Process) -> None:
    """Wait until a mirror has a position."""
    while await asyncio.to_thread(position, mirror) < revision:
        assert program.returncode is None


def position(mirror: Path) -> int:
    """Return the position of a mirror; 0 if it has none yet."""
    with contextlib.closing(sqlite3.connect(mirror)) as database:
        try:
            return int(database.execute("SELECT max(revision) FROM position").fetchone()[0] or 0)
        except sqlite3.OperationalError:  # The program has not created the table yet.
            return 0


def mirrored(mirror: Path) -> Rows:
    """Return the rows of a mirror in order."""
    with contextlib.closing(sqlite3.connect(mirror)) as database:
        return sorted(database.execute("SELECT enrollment_id, course_id, student_id, state FROM roster"))


def rosters_of(address: str) -> tuple[int, Rows]:
    """Return the head of the history, and the rosters of all courses with enrollments in any state."""
    with RegistrarClient(address) as registrar:
        rows = [
            (one.enrollment.enrollment_id, course.course_id, one.enrollment.student_id, str(one.enrollment.state))
            for course in registrar.courses.search(show_deleted=True)
            for one in registrar.list_roster(
                course_id=course.course_id, states=list(EnrollmentState), show_deleted=True, page_size=1000
            )
        ]
        return next(registrar.history.list(page_size=1).pages()).last_revision, sorted(rows)


def history(address: str) -> list[Event]:
    with RegistrarClient(address) as registrar:
        return list(registrar.history.list(page_size=1000))


def replayed(events: Sequence[Event], revision: int) -> Rows:
    """Return the rows of a mirror that has reached a revision."""
    known = (one.enrollment for one in events if one.revision <= revision and one.enrollment)
    return sorted(
        {
            one.enrollment_id: (one.enrollment_id, one.course_id, one.student_id, str(one.state)) for one in known
        }.values()
    )


def enroll_more(address: str) -> None:
    """Leave one more enrollment in each of four states. The last event is about an enrollment."""
    with RegistrarClient(address) as registrar:
        registrar.courses.create(course_id="M-9", capacity=1, waitlist_capacity=2)
        for student_id in ("m-completed", "m-enrolled", "m-waitlisted", "m-dropped"):
            registrar.students.create(student_id=student_id)
            registrar.enroll(student_id=student_id, course_id="M-9")
            if student_id == "m-completed":
                registrar.complete(student_id=student_id, course_id="M-9", passed=True)
        registrar.unenroll(student_id="m-dropped", course_id="M-9")


async def change_enrollments(address: str, random: Random, ended: asyncio.Event) -> None:
    """Change enrollments in all ways, and much else, until the event is set."""
    students, courses = [f"m-{number}" for number in range(8)], ["M-1", "M-2", "M-3"]
    async with AsyncRegistrarClient(address, timeout=60) as registrar:
        for student_id in students:
            await registrar.students.create(student_id=student_id)
        for course_id in courses:
            await registrar.courses.create(course_id=course_id, capacity=2, waitlist_capacity=4)
        changes: Sequence[Callable[[str, str, str], Awaitable[object]]] = (
            *[lambda student, course, _: registrar.enroll(student_id=student, course_id=course)] * 4,
            lambda student, course, _: registrar.unenroll(student_id=student, course_id=course),
            lambda student, course, other: registrar.swap(
                student_id=student, from_course_id=course, to_course_id=other
            ),
            lambda student, course, _: registrar.complete(student_id=student, course_id=course, passed=False),
            lambda student, course, _: registrar.record_completion(student_id=student, course_id=course),
            lambda student, *_: registrar.students.place_hold(student_id=student, code="LIBRARY"),
            lambda student, *_: registrar.students.release_hold(student_id=student, code="LIBRARY"),
            lambda student, *_: registrar.students.delete(student_id=student, force=True),
            lambda student, *_: registrar.students.undelete(student_id=student),
            lambda _, course, __: registrar.courses.update(course_id=course, capacity=random.randint(1, 4)),
        )
        while not ended.is_set():
            with contextlib.suppress(AlreadyExists, FailedPrecondition, NotFound):
                await random.choice(changes)(random.choice(students), *random.sample(courses, 2))


def leave(address: str, student_id: str, course_id: str) -> None:
    with RegistrarClient(address) as registrar:
        registrar.unenroll(student_id=student_id, course_id=course_id)


def courses(address: str) -> list[Course]:
    with RegistrarClient(address) as registrar:
        return sorted(registrar.courses.search(page_size=1000), key=lambda course: course.course_id)


def make_schedule(address: str) -> None:
    """Create a student with at most 3 credits, and three courses, of which the first two meet at the same time."""
    with RegistrarClient(address) as registrar:
        registrar.students.create(student_id="p-1", max_credits="3")
        for course_id, credits, start in (("P-1", 2, dt.time(9)), ("P-2", 2, dt.time(9, 30)), ("P-3", 1, dt.time(13))):
            end = start.replace(hour=start.hour + 1, minute=0)
            meeting = Meeting(weekdays=[Weekday.MONDAY], start_time=start, end_time=end)
            registrar.courses.create(course_id=course_id, credits=credits, meetings=[meeting])


def write_semester(folder: Path, offerings: list[semester.Offering]) -> None:
    """Write the courses of a semester, and 500 students who each wish for four of them."""
    columns = ("course_id", "code", "title", "term", "credits", "capacity")
    wishes = [(number, offerings[number * 37 % len(offerings)]) for number in range(2_000)]
    tables: dict[str, list[Sequence[object]]] = {
        "students.csv": [("student_id",), *((f"s-{number}",) for number in range(500))],
        "courses.csv": [columns, *([semester.course(one)[name] for name in columns] for one in offerings)],
        "enrollments.csv": [("student_id", "course_id"), *((f"s-{n % 500}", one["crn"]) for n, one in wishes)],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
