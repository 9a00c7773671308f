"""The changes that ``batch`` and ``bulk`` of a client make.

Each function has the arguments of the client's method of the same name, and returns the change instead of making it::

    registrar.batch([
        writes.students.create(student_id="s-1", given_name="Ada"),
        writes.enroll(student_id="s-1", course_id="CS-101"),
    ])

The ``timeout`` of a write says how long it may wait for its turn after the call has arrived at the server. If the time
is over, the write is not made, and the call fails with DeadlineExceeded; with ``unordered``, only the write is refused.
A write has no ``on_behalf_of``: that of ``batch`` or ``bulk`` is for all of its writes.
"""

from registrar_client._call import Call as Write
from registrar_client._calls.completions import complete, record_completion, void_completion
from registrar_client._calls.enrollments import enroll, swap, unenroll
from registrar_client.writes import _course_writes as courses
from registrar_client.writes import _student_writes as students

__all__ = [
    "Write",
    "complete",
    "courses",
    "enroll",
    "record_completion",
    "students",
    "swap",
    "unenroll",
    "void_completion",
]
