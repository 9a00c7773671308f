"""EnrollmentService: enrolling, unenrolling, swapping, completing, and who is enrolled in what."""

from __future__ import annotations

from collections.abc import Sequence

from registrar.v1 import enrollment_service_pb2 as pb
from registrar.v1.enrollment_service_pb2_grpc import EnrollmentServiceServicer
from registrar_server.core.commands import Complete, Enroll, RecordCompletion, Swap, Unenroll
from registrar_server.core.records import LIVE_STATES
from registrar_server.core.seats import Swapped, Unenrolled
from registrar_server.reading.reader import CoursesOfStudent, EnrollmentById, RosterEntry, StudentCourse
from registrar_server.rpc import convert
from registrar_server.rpc.dispatch import Desk
from registrar_server.rpc.endpoint import Context, endpoint
from registrar_server.rpc.paging import Page
from registrar_server.rpc.validation import Fields

_enrolled = convert.answering(pb.EnrollStudentResponse, "enrollment", convert.enrollment)
_completed = convert.answering(pb.CompleteEnrollmentResponse, "enrollment", convert.enrollment)
_recorded = convert.answering(pb.RecordCompletionResponse, "enrollment", convert.enrollment)
_LIVE_NUMBERS = [convert.ENROLLMENT_STATES[state] for state in LIVE_STATES]
_STATE_NAMES = {number: name for name, number in convert.ENROLLMENT_STATES.items()}


class EnrollmentService(EnrollmentServiceServicer):
    """See ``protos/registrar/v1/enrollment_service.proto``, which is the reference."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

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
            comment=fields.text("comment", request.comment, 1000),
        )
        fields.check()
        return await self._desk.change(context, request, command, pb.EnrollStudentResponse, _enrolled)

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
            comment=fields.text("comment", request.comment, 1000),
        )
        fields.check()
        return await self._desk.change(context, request, command, pb.UnenrollResponse, _unenrolled)

    @endpoint
    async def SwapEnrollment(self, request: pb.SwapEnrollmentRequest, context: Context) -> pb.SwapEnrollmentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = Swap(
            student_id=fields.id("student_id", request.student_id),
            from_course_id=fields.id("from_course_id", request.from_course_id),
            to_course_id=fields.id("to_course_id", request.to_course_id),
            override=fields.override(request.override, given=request.HasField("override")),
            comment=fields.text("comment", request.comment, 1000),
        )
        if command.from_course_id == command.to_course_id:
            fields.wrong("to_course_id", "must be another course than from_course_id")
        fields.check()
        return await self._desk.change(context, request, command, pb.SwapEnrollmentResponse, _swapped)

    @endpoint
    async def CompleteEnrollment(
        self, request: pb.CompleteEnrollmentRequest, context: Context
    ) -> pb.CompleteEnrollmentResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        command = Complete(
            student_id=fields.id("student_id", request.student_id),
            course_id=fields.id("course_id", request.course_id),
            grade=fields.grade(request.grade),
            passed=_passed(request),
            etag=request.etag,
        )
        fields.check()
        return await self._desk.change(context, request, command, pb.CompleteEnrollmentResponse, _completed)

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
            comment=fields.text("comment", request.comment, 1000),
        )
        fields.check()
        return await self._desk.change(context, request, command, pb.RecordCompletionResponse, _recorded)

    @endpoint
    async def ListCourses(self, request: pb.ListCoursesRequest, context: Context) -> pb.ListCoursesResponse:
        fields = Fields()
        student_id = fields.id("student_id", request.student_id)
        states = _states(fields, request)
        page = Page(fields, request, self._desk.max_page_bytes)
        fields.check()
        if page.is_usual and states == LIVE_STATES:
            rows = await self._desk.look_up(context, CoursesOfStudent(student_id))
        else:
            after = page.after(str, int)
            rows = await self._desk.list_page(
                lambda reader: reader.list_courses(student_id, states, after, page.size + 1)
            )
        response = pb.ListCoursesResponse()
        page.fill(response, response.courses, rows, _student_course, _courses_key)
        return response

    @endpoint
    async def ListRoster(self, request: pb.ListRosterRequest, context: Context) -> pb.ListRosterResponse:
        fields = Fields()
        course_id = fields.id("course_id", request.course_id)
        states = _states(fields, request)
        page = Page(fields, request, self._desk.max_page_bytes)
        fields.check()
        after = page.after(int)
        rows = await self._desk.list_page(lambda reader: reader.list_roster(course_id, states, after, page.size + 1))
        response = pb.ListRosterResponse()
        page.fill(response, response.entries, rows, _roster_entry, _roster_key)
        return response

    @endpoint
    async def GetEnrollment(self, request: pb.GetEnrollmentRequest, context: Context) -> pb.GetEnrollmentResponse:
        fields = Fields()
        enrollment_id = fields.id("enrollment_id", request.enrollment_id)
        fields.check()
        found = await self._desk.look_up(context, EnrollmentById(enrollment_id))
        return pb.GetEnrollmentResponse(enrollment=convert.enrollment(found))


def _states(fields: Fields, request: pb.ListCoursesRequest | pb.ListRosterRequest) -> Sequence[str]:
    """Return the names of the states asked for; none asked for means the live ones.

    They are put in order in the request too, so that a token is good for the same states however they are written.
    """
    if not request.states:
        request.states.extend(_LIVE_NUMBERS)
        return LIVE_STATES
    wanted = set()
    for place, number in enumerate(fields.few("states", request.states)):
        if number in _STATE_NAMES:
            wanted.add(_STATE_NAMES[number])
        else:
            fields.wrong(f"states[{place}]", f"must be one of {', '.join(convert.ENROLLMENT_STATES)}")
    found = tuple(state for state in convert.ENROLLMENT_STATES if state in wanted)
    request.states[:] = [convert.ENROLLMENT_STATES[state] for state in found]
    return found


def _courses_key(entry: StudentCourse) -> tuple[str, int]:
    return entry.enrollment.course_id, entry.enrollment.attempt


def _passed(request: pb.CompleteEnrollmentRequest | pb.RecordCompletionRequest) -> bool:
    return request.passed if request.HasField("passed") else True


def _swapped(result: Swapped) -> pb.SwapEnrollmentResponse:
    return pb.SwapEnrollmentResponse(
        enrollment=convert.enrollment(result.enrollment),
        dropped=convert.enrollment(result.dropped),
        promoted=map(convert.enrollment, result.promoted),
    )


def _unenrolled(result: Unenrolled) -> pb.UnenrollResponse:
    return pb.UnenrollResponse(
        enrollment=convert.enrollment(result.enrollment) if result.enrollment else None,
        promoted=map(convert.enrollment, result.promoted),
    )


def _student_course(message: pb.StudentCourse, entry: StudentCourse) -> None:
    convert.set_course(message.course, entry.course)
    convert.set_enrollment(message.enrollment, entry.enrollment)


def _roster_key(entry: RosterEntry) -> tuple[int]:
    return (entry.enrollment.number,)


def _roster_entry(message: pb.RosterEntry, entry: RosterEntry) -> None:
    convert.set_student(message.student, entry.student)
    convert.set_enrollment(message.enrollment, entry.enrollment)
