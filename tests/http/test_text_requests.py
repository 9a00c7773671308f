"""Requests over HTTP that have only texts are made without ``json_format``."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from registrar_server.http.json_requests import read_request
from registrar_server.http.routes import Match, Route, all_routes

WITH_ALL_IN_THE_BODY = [route for route in all_routes() if route.body == "*"]


def texts_of(route: Route) -> dict[str, str]:
    """Return a text for each field of a request that is one, some with letters that UTF-8 writes in several bytes."""
    fields = route.method.request.DESCRIPTOR.fields
    names = [field.name for field in fields if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated]
    return {name: f"{name} Ünï \U0001f600 \0" for name in names}


@pytest.mark.parametrize("route", WITH_ALL_IN_THE_BODY, ids=lambda route: f"{route.verb} {route.path}")
def test_a_request_of_texts_is_the_one_that_json_format_makes(route: Route) -> None:
    texts = texts_of(route)
    in_path = {name: text for name, text in texts.items() if f"{{{name}}}" in route.segments}
    body = json.dumps({name: text for name, text in texts.items() if name not in in_path}).encode()
    expected = json_format.ParseDict(texts, route.method.request())
    assert read_request(Match(route, in_path), b"", {}, body) == expected
