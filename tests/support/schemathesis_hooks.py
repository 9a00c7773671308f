"""Hooks for schemathesis, which loads this file: they correct what OpenAPI cannot say, and keep batches simple."""

from __future__ import annotations

from typing import Any

import schemathesis

SAME = {"Idempotency-Key": "request_id", "If-Match": "etag"}
"""The headers that set a field of the request."""
KINDS_OF_WRITES = ("enroll_student", "place_hold", "delete_course")


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Name no field twice: a path or a header and the body or the query must agree, and random values do not."""
    named = {SAME[header] for header in case.headers or () if header in SAME} | set(case.path_parameters or ())
    for place in (case.query, case.body):
        if isinstance(place, dict):
            for name in named & set(place):
                del place[name]
    return case


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out numbers for enums: the document has only their names, but the server takes both, as protobuf does."""
    return not str((case.query or {}).get("state", "")).isdigit()


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Let the writes of a batch be of few kinds: the choice among all of them takes schemathesis minutes."""
    write = raw_schema["components"]["schemas"]["WriteInput"]
    write["oneOf"] = [{"required": [name]} for name in KINDS_OF_WRITES]
    write["properties"] = {name: write["properties"][name] for name in (*KINDS_OF_WRITES, "timeout")}
