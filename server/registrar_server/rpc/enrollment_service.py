"""EnrollmentService: enroll, unenroll, swap, completions, and the lists of enrollments."""

from __future__ import annotations

from collections.abc import Sequence

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceServicer
from registrar_server.core.commands import (
    Complete,
    CompleteById,
    Enroll,
    RecordCompletion,
    Swap,
    Unenroll,
    VoidCompletion,
)
from registrar_server.core.records import Enrollment
from registrar_server.core.seats import Enrolled, Swapped, Unenrolled
from registrar_server.core.vocabulary import LIVE_STATES, EnrollmentState
from registrar_server.reading.enrollment_lists import EnrollmentSearch
from registrar_server.reading.lists import RosterEntry, RosterFilter, StudentCourseFilter
from registrar_server.reading.lookups import EnrollmentById, StudentCourse
from registrar_server.rpc import convert
from registrar_server.rpc.dispatch import Dispatcher
from registrar_server.rpc.endpoint import Context, endpoint
from registrar_server.rpc.filters import members, time_after
from registrar_server.rpc.paging import Page, SortName
from registrar_server.rpc.validation import Fields
from registrar_server.rpc.values import ENROLLMENT_STATES

_completed = convert.answering(pb.CompleteEnrollmentResponse, "enrollment", convert.enrollment)
_voided = convert.answering(pb.VoidCompletionResponse, "enrollment", convert.enrollment)
_recorded = convert.answering(pb.RecordCompletionResponse, "enrollment", convert.enrollment)
_LIVE_NUMBERS = [ENROLLMENT_STATES[state] for state in LIVE_STATES]


class EnrollmentService(EnrollmentServiceServicer):
    """Implements ``protos/registrar/v1/enrollment_service.proto``, which documents each RPC."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.slow_call = dispatcher.slow_call

    @endpoint
    async def EnrollStudent(self, request: pb.EnrollStudentRequest, context: Context) -> pb.EnrollStudentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = Enroll(
            student_id=fields.id("student_id", request.student_id),
            course_id=fields.id("course_id", request.course_id),
            allow_existing=request.allow_existing,
            no_waitlist=request.no_waitlist,
            override=fields.override(request.override, given=request.HasField("override")),
            comment=fields.long_text("comment", request.comment, 1000),
        )
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.EnrollStudentResponse, _enrolled)

    @endpoint
    async def Unenroll(self, request: pb.UnenrollRequest, context: Context) -> pb.UnenrollResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = Unenroll(
            student_id=fields.id("student_id", request.student_id),
            course_id=fields.id("course_id", request.course_id),
            allow_missing=request.allow_missing,
            override=fields.override(request.override, given=request.HasField("override")),
            reason=fields.text("reason", request.reason, 200),
            comment=fields.long_text("comment", request.comment, 1000),
        )
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.UnenrollResponse, _unenrolled)

    @endpoint
    async def SwapEnrollment(self, request: pb.SwapEnrollmentRequest, context: Context) -> pb.SwapEnrollmentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = Swap(
            student_id=fields.id("student_id", request.student_id),
            from_course_id=fields.id("from_course_id", request.from_course_id),
            to_course_id=fields.id("to_course_id", request.to_course_id),
            override=fields.override(request.override, given=request.HasField("override")),
            comment=fields.long_text("comment", request.comment, 1000),
        )
        if command.from_course_id == command.to_course_id:
            fields.wrong("to_course_id", "must be another course than from_course_id")
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.SwapEnrollmentResponse, _swapped)

    @endpoint
    async def CompleteEnrollment(
        self, request: pb.CompleteEnrollmentRequest, context: Context
    ) -> pb.CompleteEnrollmentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = _completion(fields, request)
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.CompleteEnrollmentResponse, _completed)

    @endpoint
    async def RecordCompletion(
        self, request: pb.RecordCompletionRequest, context: Context
    ) -> pb.RecordCompletionResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = RecordCompletion(
            student_id=fields.id("student_id", request.student_id),
            course_id=fields.id("course_id", request.course_id),
            grade=fields.grade(request.grade),
            passed=_passed(request),
            comment=fields.long_text("comment", request.comment, 1000),
            allow_existing=request.allow_existing,
        )
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.RecordCompletionResponse, _recorded)

    @endpoint
    async def VoidCompletion(self, request: pb.VoidCompletionRequest, context: Context) -> pb.VoidCompletionResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = VoidCompletion(
            enrollment_id=fields.id("enrollment_id", request.enrollment_id),
            reason=fields.text("reason", request.reason, 200),
            etag=request.etag,
        )
        fields.check()
        return await self._dispatcher.change(context, request, command, pb.VoidCompletionResponse, _voided)

    @endpoint
    async def ListCourses(self, request: pb.ListCoursesRequest, context: Context) -> pb.ListCoursesResponse:
        fields = Fields()
        student_id = fields.id("student_id", request.student_id)
        states, term = _states(fields, request), fields.selector("term", request.term, 64)
        wanted = StudentCourseFilter(states, term, request.show_deleted)
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        rows = await self._dispatcher.reads.list_courses(
            student_id, wanted, page.after(str, int), page.size, timeout=context.time_remaining()
        )
        response = pb.ListCoursesResponse()
        page.fill(response, response.courses, rows, _student_course, _courses_key)
        return response

    @endpoint
    async def ListRoster(self, request: pb.ListRosterRequest, context: Context) -> pb.ListRosterResponse:
        fields = Fields()
        course_id = fields.id("course_id", request.course_id)
        if request.order_by not in ("", "family_name"):
            fields.wrong("order_by", "must be family_name or empty")
        wanted = RosterFilter(_states(fields, request), bool(request.order_by), request.show_deleted)
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        after = page.after(SortName, int) if wanted.by_name else page.after(int)
        rows = await self._dispatcher.reads.list(
            lambda reader: reader.list_roster(course_id, wanted, after, page.size + 1)
        )
        response = pb.ListRosterResponse()
        page.fill(response, response.entries, rows, _roster_entry, _name_key if wanted.by_name else _roster_key)
        return response

    @endpoint
    async def ListEnrollments(self, request: pb.ListEnrollmentsRequest, context: Context) -> pb.ListEnrollmentsResponse:
        fields = Fields()
        search = EnrollmentSearch(
            student_id=fields.optional_id("student_id", request.student_id),
            course_id=fields.optional_id("course_id", request.course_id),
            term=fields.selector("term", request.term, 64),
            code=fields.selector("code", request.code, 64),
            states=members(fields, "states", request.states, ENROLLMENT_STATES),
            updated_after=time_after(fields, request, "update_time_after"),
            show_deleted=request.show_deleted,
        )
        page = Page(fields, request, self._dispatcher.max_page_bytes)
        fields.check()
        after = page.after(str, int)
        rows = await self._dispatcher.reads.list(lambda reader: reader.list_enrollments(search, after, page.size + 1))
        response = pb.ListEnrollmentsResponse()
        page.fill(response, response.enrollments, rows, convert.set_enrollment, _enrollments_key)
        return response

    @endpoint
    async def GetEnrollment(self, request: pb.GetEnrollmentRequest, context: Context) -> pb.GetEnrollmentResponse:
        fields = Fields()
        enrollment_id = fields.id("enrollment_id", request.enrollment_id)
        fields.check()
        found = await self._dispatcher.reads.look_up(EnrollmentById(enrollment_id), timeout=context.time_remaining())
        return pb.GetEnrollmentResponse(enrollment=convert.enrollment(found))


def _states(fields: Fields, request: pb.ListCoursesRequest | pb.ListRosterRequest) -> tuple[EnrollmentState, ...]:
    """Return the states that the request asks for, by default the live ones, which the request gets too."""
    if not request.states:
        request.states.extend(_LIVE_NUMBERS)
        return LIVE_STATES
    return members(fields, "states", request.states, ENROLLMENT_STATES)


def _courses_key(entry: StudentCourse) -> tuple[str, int]:
    return entry.enrollment.course_id, entry.enrollment.attempt


def _completion(fields: Fields, request: pb.CompleteEnrollmentRequest) -> Complete | CompleteById:
    """Return the command for the enrollment that the request names, by its id or by its student and course."""
    names_pair = bool(request.student_id or request.course_id)
    if names_pair and request.enrollment_id:
        fields.wrong("enrollment_id", "must be empty if student_id or course_id is set")
    elif not names_pair and not request.enrollment_id:
        fields.wrong("enrollment_id", "is required, unless student_id and course_id are set")
    by_pair = names_pair and not request.enrollment_id
    student_id = fields.id("student_id", request.student_id) if by_pair else ""
    course_id = fields.id("course_id", request.course_id) if by_pair else ""
    enrollment_id = fields.optional_id("enrollment_id", request.enrollment_id)
    grade, passed, etag = fields.grade(request.grade), _passed(request), request.etag
    if by_pair:
        return Complete(student_id, course_id, grade, passed, etag)
    return CompleteById(enrollment_id, grade, passed, etag)


def _passed(request: pb.CompleteEnrollmentRequest | pb.RecordCompletionRequest) -> bool:
    return request.passed if request.HasField("passed") else True


def _enrolled(result: Enrolled) -> pb.EnrollStudentResponse:
    response = pb.EnrollStudentResponse()
    convert.set_enrollment(response.enrollment, result.enrollment)
    _set_promoted(response, result.promoted)
    return response


def _swapped(result: Swapped) -> pb.SwapEnrollmentResponse:
    return pb.SwapEnrollmentResponse(
        enrollment=convert.enrollment(result.enrollment),
        dropped=convert.enrollment(result.dropped),
        promoted=convert.listed(result.promoted),
        promoted_count=len(result.promoted),
    )


def _unenrolled(result: Unenrolled) -> pb.UnenrollResponse:
    response = pb.UnenrollResponse()
    if result.enrollment:
        convert.set_enrollment(response.enrollment, result.enrollment)
    _set_promoted(response, result.promoted)
    return response


def _set_promoted(response: pb.EnrollStudentResponse | pb.UnenrollResponse, promoted: Sequence[Enrollment]) -> None:
    """Fill in the promoted enrollments, which most responses lack."""
    if promoted:
        response.promoted.extend(convert.listed(promoted))
        response.promoted_count = len(promoted)


def _student_course(message: pb.StudentCourse, entry: StudentCourse) -> None:
    convert.set_course(message.course, entry.course)
    convert.set_enrollment(message.enrollment, entry.enrollment)


def _roster_key(entry: RosterEntry) -> tuple[int]:
    return (entry.enrollment.number,)


def _name_key(entry: RosterEntry) -> tuple[str, int]:
    return entry.sort_name, entry.enrollment.number


def _enrollments_key(enrollment: Enrollment) -> tuple[str, int]:
    return enrollment.course_id, enrollment.number


def _roster_entry(message: pb.RosterEntry, entry: RosterEntry) -> None:
    convert.set_student(message.student, entry.student)
    convert.set_enrollment(message.enrollment, entry.enrollment)
