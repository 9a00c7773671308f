"""The calls that a server suggests to a newcomer when it starts."""

from __future__ import annotations

_CALLS = """
Registrar is serving {addresses}. {first}Try this in another shell:
{key}
  grpcurl -plaintext{header} -d '{{"student":{{"student_id":"s-1","given_name":"Ada"}}}}' \\
      {address} registrar.v1.StudentService/CreateStudent
  grpcurl -plaintext{header} -d '{{"course":{{"course_id":"CS-101","title":"Intro","capacity":30}}}}' \\
      {address} registrar.v1.CourseService/CreateCourse
  grpcurl -plaintext{header} -d '{{"student_id":"s-1","course_id":"CS-101"}}' \\
      {address} registrar.v1.EnrollmentService/EnrollStudent
{over_http}
or in Python:

  {import_os}from registrar_client import RegistrarClient
  with RegistrarClient("{address}"{token}) as registrar:
      print(list(registrar.list_courses(student_id="s-1")))
"""
_OVER_HTTP = """
or over HTTP:

  curl{header} http://{http_address}/students/s-1/courses
"""
_KEY = """
  export REGISTRAR_TOKEN=$(registrar-server keys create --name me --role admin --expires 1d)
"""
_HEADER = ' -H "Authorization: Bearer $REGISTRAR_TOKEN"'
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""The address to call on the machine itself for each of those that stand for all addresses."""


def try_next(address: str, http_address: str, *, identified: bool = False) -> str:
    """Return calls for a newcomer to try; ``http_address`` is empty if the server serves no HTTP.

    If callers are ``identified``, the calls have a key, and the first line makes it.
    """
    header = _HEADER if identified else ""
    return _CALLS.format(
        addresses=f"gRPC on {address} and HTTP on {http_address}" if http_address else f"gRPC on {address}",
        first="It identifies its callers. " if identified else "",
        key=_KEY if identified else "",
        header=header,
        address=_on_this_machine(address),
        over_http=_OVER_HTTP.format(header=header, http_address=_on_this_machine(http_address)) if http_address else "",
        import_os="import os\n  " if identified else "",
        token=', token=os.environ["REGISTRAR_TOKEN"]' if identified else "",
    )


def _on_this_machine(address: str) -> str:
    """Return an address that a shell on this machine can call, also if the server listens on all addresses."""
    host, _, port = address.rpartition(":")
    return f"{_LOOPBACK.get(host, host)}:{port}"
