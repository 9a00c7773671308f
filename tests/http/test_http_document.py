"""docs/http.md lists every route, every status, and every reason that only HTTP has."""

from __future__ import annotations

import re
from pathlib import Path

from google.rpc.code_pb2 import Code

from registrar_server.http.answers import ETAG_MISMATCH_STATUS, HTTP_STATUSES
from registrar_server.http.refusals import STATUSES
from registrar_server.http.routes import all_routes

DOCUMENT = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\|.*\|$", DOCUMENT, re.M)]
CODE = re.compile(r"([A-Z_]+) \((\d+)\)")
SPAN = re.compile(r"`([^`]+)`")


def coded(cell: str) -> list[int]:
    """Return the canonical codes in a cell, each of which has its name and its number."""
    found = [(Code.Value(name), int(number)) for name, number in CODE.findall(cell)]
    assert all(value == number for value, number in found), cell
    return [number for _, number in found]


def test_every_route_is_listed() -> None:
    listed = [
        (verb, path, rpc)
        for verb, paths, rpc in (row for row in ROWS if len(row) == 3 and row[0].isupper())
        for path in SPAN.findall(paths)
    ]
    assert sorted(listed) == sorted((route.verb, route.path, route.rpc.name) for route in all_routes())


def test_every_canonical_code_has_its_status() -> None:
    rows = [(int(row[0]), row[1]) for row in ROWS if len(row) == 2 and row[0].isdigit()]
    listed = {code: status for status, cell in rows if "with the reason" not in cell for code in coded(cell)}
    assert {**listed, Code.OK: 200} == dict(HTTP_STATUSES)
    assert (ETAG_MISMATCH_STATUS, "ABORTED (10) with the reason `ETAG_MISMATCH`") in rows


def test_every_reason_that_only_http_has_is_listed_with_its_status_and_its_code() -> None:
    rows = [row for row in ROWS if len(row) == 4 and row[0].isdigit()]
    listed = {SPAN.findall(reason)[0]: (int(status), *coded(code)) for status, reason, code, _ in rows}
    assert listed == {reason.value: found for reason, found in STATUSES.items()}
