"""The changes that callers may ask for. Each names the rows that its decision needs.

Every change in Registrar is a command, and all commands take the same path: queue, lock, load, decide, write, commit.
Nothing changes a command after it was made. Its class is not frozen, because that would triple the time to make one.
"""

from registrar_server.core.commands.command import Command
from registrar_server.core.commands.course_commands import (
    SETTLING,
    CreateCourse,
    DeleteCourse,
    Settle,
    UndeleteCourse,
    UpdateCourse,
)
from registrar_server.core.commands.enrollment_commands import (
    Complete,
    CompleteById,
    Enroll,
    EnrollmentCommand,
    RecordCompletion,
    Swap,
    Unenroll,
    VoidCompletion,
)
from registrar_server.core.commands.student_commands import (
    CreateStudent,
    DeleteStudent,
    PlaceHold,
    ReleaseHold,
    UndeleteStudent,
    UpdateStudent,
)
from registrar_server.core.overrides import NO_OVERRIDE, Override

__all__ = [
    "NO_OVERRIDE",
    "SETTLING",
    "Command",
    "Complete",
    "CompleteById",
    "CreateCourse",
    "CreateStudent",
    "DeleteCourse",
    "DeleteStudent",
    "Enroll",
    "EnrollmentCommand",
    "Override",
    "PlaceHold",
    "RecordCompletion",
    "ReleaseHold",
    "Settle",
    "Swap",
    "UndeleteCourse",
    "UndeleteStudent",
    "Unenroll",
    "UpdateCourse",
    "UpdateStudent",
    "VoidCompletion",
]
