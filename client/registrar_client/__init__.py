"""The Registrar client: `RegistrarClient` for scripts and threads, `AsyncRegistrarClient` for asyncio.

    from registrar_client import CourseFull, RegistrarClient

    with RegistrarClient("localhost:50051") as registrar:
        try:
            enrollment = registrar.enroll(student_id="s-1", course_id="CS-101")
        except CourseFull as full:
            print(full.violations)

`registrar_client.testing` runs a real server for tests. `registrar_client.__version__` is the version of the
installed distribution, or `0+unknown` if the client was not installed as one.
"""

import typing as _typing

from registrar_client import _version, writes
from registrar_client._async import AsyncRegistrarClient
from registrar_client._batch_results import BatchFailed, BatchResults
from registrar_client._bulk_reports import BulkReport, BulkStopped
from registrar_client._connection import TlsOptions
from registrar_client._enums import (
    CourseState,
    EnrollmentState,
    ErrorReason,
    EventType,
    StudentState,
    Weekday,
)
from registrar_client._pager import AsyncPager, Page, Pager
from registrar_client._results import (
    DeletedCourse,
    DeletedStudent,
    Enrolled,
    Settled,
    Swapped,
    Unenrolled,
    UpdatedCourse,
)
from registrar_client._retry import RetryOptions
from registrar_client._sync import RegistrarClient
from registrar_client._types import (
    UNSET,
    Course,
    Enrollment,
    Event,
    FieldChange,
    Hold,
    Meeting,
    Override,
    RosterEntry,
    Student,
    StudentCourse,
    Unset,
)
from registrar_client._watch_async import AsyncWatch
from registrar_client._watch_sync import Watch
from registrar_client._watching import Checkpoint
from registrar_client.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    RegistrarError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
    Violation,
)
from registrar_client.reasons import (
    AlreadyEnrolled,
    AlreadyWaitlisted,
    Contention,
    CourseCancelled,
    CourseExists,
    CourseFull,
    CourseHasEnrollments,
    CourseNotFound,
    CredentialsInvalid,
    CredentialsMissing,
    CreditLimitExceeded,
    DatabaseUnavailable,
    DropDeadlinePassed,
    DuplicateCourse,
    EnrollmentClosed,
    EnrollmentNotFound,
    EnrollmentNotOpen,
    EtagMismatch,
    HoldNotFound,
    InvalidField,
    InvalidPageToken,
    NotCompleted,
    NotEnrolled,
    Overloaded,
    PrerequisiteUnmet,
    RateLimited,
    RequestIdReused,
    RevisionAhead,
    RoleRequired,
    ScheduleConflict,
    ShuttingDown,
    StudentExists,
    StudentHasEnrollments,
    StudentHold,
    StudentInactive,
    StudentNotFound,
    WaitlistFull,
)

__all__ = [
    "UNSET",
    "Aborted",
    "AlreadyEnrolled",
    "AlreadyExists",
    "AlreadyWaitlisted",
    "AsyncPager",
    "AsyncRegistrarClient",
    "AsyncWatch",
    "BatchFailed",
    "BatchResults",
    "BulkReport",
    "BulkStopped",
    "Cancelled",
    "Checkpoint",
    "Contention",
    "Course",
    "CourseCancelled",
    "CourseExists",
    "CourseFull",
    "CourseHasEnrollments",
    "CourseNotFound",
    "CourseState",
    "CredentialsInvalid",
    "CredentialsMissing",
    "CreditLimitExceeded",
    "DataLoss",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DeletedCourse",
    "DeletedStudent",
    "DropDeadlinePassed",
    "DuplicateCourse",
    "Enrolled",
    "Enrollment",
    "EnrollmentClosed",
    "EnrollmentNotFound",
    "EnrollmentNotOpen",
    "EnrollmentState",
    "ErrorReason",
    "EtagMismatch",
    "Event",
    "EventType",
    "FailedPrecondition",
    "FieldChange",
    "FieldViolation",
    "Hold",
    "HoldNotFound",
    "Internal",
    "InvalidArgument",
    "InvalidField",
    "InvalidPageToken",
    "Meeting",
    "NotCompleted",
    "NotEnrolled",
    "NotFound",
    "OutOfRange",
    "Overloaded",
    "Override",
    "Page",
    "Pager",
    "PermissionDenied",
    "PrerequisiteUnmet",
    "RateLimited",
    "RegistrarClient",
    "RegistrarError",
    "RequestIdReused",
    "ResourceExhausted",
    "RetryOptions",
    "RevisionAhead",
    "RoleRequired",
    "RosterEntry",
    "ScheduleConflict",
    "Settled",
    "ShuttingDown",
    "Student",
    "StudentCourse",
    "StudentExists",
    "StudentHasEnrollments",
    "StudentHold",
    "StudentInactive",
    "StudentNotFound",
    "StudentState",
    "Swapped",
    "TlsOptions",
    "Unauthenticated",
    "Unavailable",
    "Unenrolled",
    "Unimplemented",
    "Unknown",
    "Unset",
    "UpdatedCourse",
    "Violation",
    "WaitlistFull",
    "Watch",
    "Weekday",
    "writes",
]

__version__: str


def __dir__() -> list[str]:
    return [*globals(), "__version__"]


# Type checkers must not see the function, or they would accept any attribute.
if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        # The version is looked up only when it is read, so that importing the client stays fast.
        if name == "__version__":
            return _version.distribution_version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
