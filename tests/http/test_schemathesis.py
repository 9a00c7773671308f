"""Schemathesis reads /openapi.json and sends what it allows and what it forbids; every answer is as it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from registrar_server.rpc.table import METHODS
from tests.support.properties import scaled
from tests.support.servers import Log, Registrar, calling, serving
from tests.support.subprocess_environment import environment_without

HOOKS = Path(__file__).parents[1] / "support" / "schemathesis_hooks.py"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
SETTINGS = """
hooks = "schemathesis_hooks"

[dictionaries]
students = { values = ["s-1", "s-2"] }
courses = { values = ["c-1", "c-2", "c-3"] }
masks = { values = ["title", "given_name", "state"] }
etags = { values = ["*"] }

[parameters]
"path.student_id" = { dictionary = "students", probability = 0.9 }
"path.course_id" = { dictionary = "courses", probability = 0.9 }
"query.course_id" = { dictionary = "courses", probability = 0.9 }
"query.update_mask" = { dictionary = "masks", probability = 0.9 }
"body.course_id" = { dictionary = "courses", probability = 0.9 }
"body.from_course_id" = { dictionary = "courses", probability = 0.9 }
"body.to_course_id" = { dictionary = "courses", probability = 0.9 }
"header.If-Match" = { dictionary = "etags", probability = 0.9 }
# A call that is too slow for its deadline is no error of the server.
"header.Registrar-Timeout" = "30s"

# A bad field of a write refuses the write. The answer to the batch is 200.
[[operations]]
include-name = "POST /v1/batchWrite"
checks.negative_data_rejection.enabled = false

# A stream ends only at its deadline, which can pass before it has begun.
[[operations]]
include-name = "GET /v1/events:watch"
parameters = { "header.Registrar-Timeout" = "100ms" }
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "504"]
"""


@pytest.mark.long
async def test_every_answer_is_as_the_document_says(database_url: str, tmp_path: Path, log: Log) -> None:
    async with (
        serving(database_url, http_listen="127.0.0.1:0") as server,
        calling(server.address) as registrar,
    ):
        await add_some_of_everything(registrar)
        status, output = await run_schemathesis(f"http://{server.http_address}/openapi.json", tmp_path)
    assert status == 0, "\n".join([output, *(str(line) for line in log.lines if "exc_info" in line)])
    assert {line["method"] for line in log.of("rpc")} == {name for methods in METHODS.values() for name in methods}
    assert len({line["method"] for line in log.of("rpc", status="OK")}) > 20, "most calls are refused"


async def add_some_of_everything(registrar: Registrar) -> None:
    for student_id in ("s-1", "s-2"):
        await registrar.add_student(student_id)
    for course_id in ("c-1", "c-2", "c-3"):
        await registrar.add_course(course_id)
    await registrar.enroll("s-1", "c-1")


async def run_schemathesis(url: str, folder: Path) -> tuple[int | None, str]:
    """Return the exit status of schemathesis, and what it wrote."""
    (folder / "schemathesis.toml").write_text(SETTINGS)
    options = ["--checks", ",".join(CHECKS), "--max-examples", str(scaled(5)), "--seed", "1"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", url, *options, "--generation-database", "none"),
        *("--no-color", "--suppress-health-check", "all"),
        cwd=folder,
        env={**environment_without("REGISTRAR_"), "PYTHONPATH": str(HOOKS.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()
