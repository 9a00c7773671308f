"""The calls of EnrollmentService."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from uuid import UUID

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from registrar_client import _convert as convert
from registrar_client import _fields as fields
from registrar_client._calls import Call, ListCall, Rpc
from registrar_client._convert import ENROLLMENT_STATES
from registrar_client._enums import EnrollmentState
from registrar_client._types import Enrollment, Override, RosterEntry, StudentCourse, Swapped, Unenrolled

ENROLL_STUDENT = Rpc(EnrollmentServiceStub, "EnrollStudent")
UNENROLL = Rpc(EnrollmentServiceStub, "Unenroll")
SWAP_ENROLLMENT = Rpc(EnrollmentServiceStub, "SwapEnrollment")
GET_ENROLLMENT = Rpc(EnrollmentServiceStub, "GetEnrollment")
LIST_COURSES = Rpc(EnrollmentServiceStub, "ListCourses")
LIST_ROSTER = Rpc(EnrollmentServiceStub, "ListRoster")


def _read_enrollment(response: pb.EnrollStudentResponse | pb.GetEnrollmentResponse) -> Enrollment:
    return convert.enrollment(response.enrollment)


def enroll(
    *,
    student_id: str,
    course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    allow_existing: bool = False,
    no_waitlist: bool = False,
    override: Override | None = None,
    comment: str = "",
    timeout: float | None = None,
) -> Call[Enrollment]:
    """Enroll a student in a course; the enrollment's ``state`` says whether there was a seat or a place to wait.

    Whoever waits and may have a free seat gets it before a newcomer. A student who waits can be seated out of turn by
    an override of ``COURSE_FULL``, if all other rules allow it.

    Args:
        student_id: The student.
        course_id: The course.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        allow_existing: Answer with the live enrollment that is there already instead of raising.
        no_waitlist: Raise CourseFull rather than put the student on the waitlist.
        override: Rules to set aside, and why.
        comment: A remark for the records.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound, CourseNotFound: There is none with this id, or it is deleted.
        AlreadyEnrolled, AlreadyWaitlisted: The student is; ``metadata["enrollment_id"]`` says by which enrollment.
        FailedPrecondition: Rules refuse, and ``violations`` has all of them. What is raised is the first of
            StudentInactive, StudentHold, CourseCancelled, EnrollmentNotOpen, EnrollmentClosed, PrerequisiteUnmet,
            ScheduleConflict, CreditLimitExceeded, CourseFull and WaitlistFull.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.EnrollStudentRequest,
        student_id=student_id,
        course_id=course_id,
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
        allow_existing=allow_existing,
        no_waitlist=no_waitlist,
        override=fields.override(override),
        comment=comment,
    )
    return Call(ENROLL_STUDENT, request, _read_enrollment, timeout)


def unenroll(
    *,
    student_id: str,
    course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    allow_missing: bool = False,
    override: Override | None = None,
    reason: str = "",
    comment: str = "",
    timeout: float | None = None,
) -> Call[Unenrolled]:
    """Give up a student's seat in a course, or the place on its waitlist.

    The seat goes to the first student on the waitlist whom the rules allow to have it; ``promoted`` says to whom.

    Args:
        student_id: The student.
        course_id: The course.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        allow_missing: Answer with no enrollment instead of raising NotEnrolled.
        override: Rules to set aside, and why.
        reason: Why the student leaves; becomes the enrollment's ``reason``.
        comment: A remark for the records.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound, CourseNotFound: There is none with this id, or it is deleted.
        NotEnrolled: The student has no live enrollment in the course; a completed one is not live.
        DropDeadlinePassed: It is too late to give up a seat; a place on the waitlist can be given up at any time.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.UnenrollRequest,
        student_id=student_id,
        course_id=course_id,
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
        allow_missing=allow_missing,
        override=fields.override(override),
        reason=reason,
        comment=comment,
    )
    return Call(UNENROLL, request, convert.unenrolled, timeout)


def swap(
    *,
    student_id: str,
    from_course_id: str,
    to_course_id: str,
    request_id: str | UUID | None = None,
    validate_only: bool = False,
    override: Override | None = None,
    comment: str = "",
    timeout: float | None = None,
) -> Call[Swapped]:
    """Give up a student's seat in one course for a seat in another: both, or nothing.

    The rules of the other course are asked as if the seat were given up already. The student is never put on a
    waitlist.

    Args:
        student_id: The student.
        from_course_id: The course whose seat is given up.
        to_course_id: The course whose seat is taken.
        request_id: A UUID under which repeating the call changes nothing more; left out, the client makes one.
        validate_only: Answer as the call would, and change nothing.
        override: Rules to set aside, and why.
        comment: A remark for the records.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        StudentNotFound, CourseNotFound: There is none with this id, or it is deleted.
        NotEnrolled: The student has no seat in ``from_course_id``; a place on its waitlist is none.
        AlreadyEnrolled, AlreadyWaitlisted: The student is, in ``to_course_id``; ``metadata["enrollment_id"]`` says by
            which enrollment.
        FailedPrecondition: Rules refuse, and ``violations`` has all of them. What is raised is the first of those that
            ``enroll`` names, for ``to_course_id``, and DropDeadlinePassed, for ``from_course_id``.
        InvalidField: The two courses are the same, or the server refuses a value.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.SwapEnrollmentRequest,
        student_id=student_id,
        from_course_id=from_course_id,
        to_course_id=to_course_id,
        request_id=fields.request_id(request_id, validate_only=validate_only),
        validate_only=validate_only,
        override=fields.override(override),
        comment=comment,
    )
    return Call(SWAP_ENROLLMENT, request, convert.swapped, timeout)


def get_enrollment(*, enrollment_id: str, timeout: float | None = None) -> Call[Enrollment]:
    """Return one enrollment, live or not.

    Args:
        enrollment_id: The enrollment.
        timeout: Seconds for all attempts together; left out, the client's.

    Raises:
        EnrollmentNotFound: There is none with this id.
        RegistrarError: Any other failure.
    """
    request = fields.message(pb.GetEnrollmentRequest, enrollment_id=enrollment_id)
    return Call(GET_ENROLLMENT, request, _read_enrollment, timeout)


def list_courses(
    *,
    student_id: str,
    states: Iterable[EnrollmentState] = (),
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> ListCall[StudentCourse]:
    """List the courses of a student, each with the enrollment that ties them, in the order of course ids.

    Nothing is asked of the server before the iteration starts; errors are raised there.

    Args:
        student_id: The student.
        states: Only enrollments in one of these states; left out, ENROLLED and WAITLISTED.
        page_size: The most items per page, up to 1000; left out, the server's 50.
        page_token: Where to start, from an earlier page's ``next_page_token``.
        timeout: Seconds for all attempts at one page; left out, the client's.

    Raises:
        StudentNotFound: There is none with this id, or the student is deleted.
        InvalidPageToken: The token is not from this list.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.ListCoursesRequest,
        student_id=student_id,
        states=fields.numbers("states", ENROLLMENT_STATES, states),
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_COURSES, request, convert.student_course, attrgetter("courses"), timeout)


def list_roster(
    *,
    course_id: str,
    states: Iterable[EnrollmentState] = (),
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> ListCall[RosterEntry]:
    """List the students of a course, each with the enrollment that ties them; waiters come in queue order.

    Nothing is asked of the server before the iteration starts; errors are raised there.

    Args:
        course_id: The course.
        states: Only enrollments in one of these states; left out, ENROLLED and WAITLISTED.
        page_size: The most items per page, up to 1000; left out, the server's 50.
        page_token: Where to start, from an earlier page's ``next_page_token``.
        timeout: Seconds for all attempts at one page; left out, the client's.

    Raises:
        CourseNotFound: There is none with this id, or it is deleted.
        InvalidPageToken: The token is not from this list.
        RegistrarError: Any other failure.
    """
    request = fields.message(
        pb.ListRosterRequest,
        course_id=course_id,
        states=fields.numbers("states", ENROLLMENT_STATES, states),
        page_size=page_size,
        page_token=page_token,
    )
    return ListCall(LIST_ROSTER, request, convert.roster_entry, attrgetter("entries"), timeout)
