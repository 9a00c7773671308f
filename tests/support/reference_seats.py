"""The seats of the reference: how students enroll, swap and unenroll, and how a course settles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registrar_server.core.commands import NO_OVERRIDE, Enroll, Override, Settle, Swap, Unenroll
from tests.support.reference_rules import Enrollment, Refused, Resource, Result, Rules, Violation, covers, judge


@dataclass(frozen=True)
class Ask:
    """What a call asks for: a seat for this student in this course."""

    student: Resource
    course: Resource
    override: Override
    comment: str
    may_wait: bool = False
    without: str = ""


@dataclass
class Turn:
    """The turn of a waiter for a free seat."""

    row: Enrollment
    set_aside: list[Violation]
    obstacles: list[Violation]
    reason: str = ""
    comment: str = ""
    is_callers: bool = False


@dataclass
class Offer:
    """What an ask gets after the course has settled: a seat or a place on the waitlist, unless something refuses it."""

    turns: list[Turn]
    state: str
    set_aside: list[Violation]
    refusing: list[Violation]
    in_turn: bool = False


class Seats(Rules):
    """The commands about seats."""

    def _enroll(self, command: Enroll) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        live = self._live(student, course)
        if live and live.state == "ENROLLED":
            if not command.allow_existing:
                raise Refused("ALREADY_ENROLLED")
            return self.enrollment(live)
        may_wait = live is None and not command.no_waitlist
        ask = Ask(student, course, command.override, command.comment, may_wait)
        offer = self._offer(ask, live)
        if live and self._stays(ask, offer):
            if not command.allow_existing:
                raise Refused("ALREADY_WAITLISTED")
            promoted = self._take(offer.turns)
            self.situations["a waiter's call promotes only others"] += bool(promoted)
            return (*self.enrollment(live), *self._names(promoted))
        self._refuse(offer.refusing)
        row, promoted = self._seat(ask, offer, live)
        return (*self.enrollment(row), *self._names(promoted))

    def _unenroll(self, command: Unenroll) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        course = self._existing("COURSE", self.courses, command.course_id)
        live = self._live(student, course)
        if live is None:
            if not command.allow_missing:
                raise Refused("NOT_ENROLLED")
            return ("nothing",)
        late, refusing = judge(self.late(course, live), command.override.rules)
        self._refuse(refusing)
        had_seat = live.state == "ENROLLED"
        self._drop(live, late, command.override.reason if late else command.reason, command.comment)
        promoted = self._settle(course) if had_seat else []
        return (*self.enrollment(live), *self._names(promoted))

    def _swap(self, command: Swap) -> Result:
        student = self._existing("STUDENT", self.students, command.student_id)
        origin = self._existing("COURSE", self.courses, command.from_course_id)
        target = self._existing("COURSE", self.courses, command.to_course_id)
        live = self._live(student, origin)
        if live is None or live.state != "ENROLLED":
            raise Refused("NOT_ENROLLED")
        there = self._live(student, target)
        if there and there.state == "ENROLLED":
            raise Refused("ALREADY_ENROLLED")
        ask = Ask(student, target, command.override, command.comment, without=origin.key)
        offer = self._offer(ask, there)
        if there and self._stays(ask, offer):
            self.situations["a swap finds no seat for the waiter"] += 1
            raise Refused("ALREADY_WAITLISTED")
        late, refusing = judge(self.late(origin, live), command.override.rules)
        self._refuse([*offer.refusing, *refusing])
        self.situations["a swap promotes the waiter"] += there is not None
        row, promoted = self._seat(ask, offer, there)
        self._drop(live, late, command.override.reason if late else "SWAPPED", command.comment)
        promoted += self._settle(origin)
        return (*self.enrollment(row), *self.enrollment(live), *self._names(promoted))

    def _settle_course(self, command: Settle) -> Result:
        course = self._existing("COURSE", self.courses, command.course_id)
        reserved = self.completed(course) if command.reserve_completed else 0
        promoted = self._settle(course, reserved)
        if command.reserve_completed:
            self.situations["a sweep promotes"] += bool(promoted)
            kept_free = [turn for turn in self._plan(course) if not turn.obstacles]
            self.situations["a sweep leaves the seats of a finished course free"] += bool(kept_free)
        return tuple(self._names(promoted))

    # How a seat is found

    def _offer(self, ask: Ask, waiting: Enrollment | None) -> Offer:
        """Return what an ask gets once every waiter ahead has had a turn; nothing changes yet."""
        course = ask.course
        turns = self._plan(course, ask=ask)
        mine = [turn for turn in turns if turn.row is waiting and not turn.obstacles]
        if mine:
            return Offer(turns, "ENROLLED", mine[0].set_aside, [], in_turn=True)
        promoted = sum(not turn.obstacles for turn in turns)
        violated = self.violations(ask.student, course, ask.without)
        state = "ENROLLED"
        # Outside of the window there are no turns, and only an override of the call itself takes a free seat.
        window = {reason for reason, _ in violated if reason.startswith("ENROLLMENT_")}
        too_early = waiting is not None and bool(window - ask.override.rules)
        self.situations["a kept override does not open the window"] += bool(
            waiting and window - ask.override.rules and window & waiting.bypassed
        )
        if self.free(course) - promoted <= 0 or too_early:
            places = course["waitlist_capacity"] or 0
            is_full = self.count(course, "WAITLISTED") - promoted >= places
            if "COURSE_FULL" in ask.override.rules or not ask.may_wait or is_full:
                violated.append(("WAITLIST_FULL" if ask.may_wait and places and is_full else "COURSE_FULL", ""))
            else:
                state = "WAITLISTED"
        return Offer(turns, state, *judge(violated, ask.override.rules, waiting))

    def _stays(self, ask: Ask, offer: Offer) -> bool:
        """Return whether a waiter keeps the place: no seat is left, and the call does not choose the waiter."""
        return bool(offer.refusing) and "COURSE_FULL" not in ask.override.rules

    def _seat(self, ask: Ask, offer: Offer, waiting: Enrollment | None) -> tuple[Enrollment, list[Enrollment]]:
        """Give the student what was offered, and return the enrollment with the others who were promoted."""
        promoted = self._take(offer.turns)
        reason = ask.override.reason if offer.set_aside else ""
        if waiting is None:
            row = Enrollment(ask.course.key, ask.student.key, offer.state)
            row.keep(offer.set_aside)
            self.rows.append(row)
            self._record_enrollment(f"STUDENT_{offer.state}", row, reason, ask.comment, offer.set_aside)
            return row, promoted
        self._note_own_turn(ask, offer)
        if not offer.in_turn:
            self._promote(Turn(waiting, offer.set_aside, [], reason, ask.comment))
        return waiting, [row for row in promoted if row is not waiting]

    def _note_own_turn(self, ask: Ask, offer: Offer) -> None:
        chosen = "COURSE_FULL" in ask.override.rules
        self.situations["a chosen waiter gets a seat out of turn"] += chosen and not offer.in_turn
        self.situations["a chosen waiter gets the seat in turn"] += chosen and offer.in_turn
        self.situations["an own turn succeeds"] += not chosen and offer.in_turn
        self.situations["an override makes the own turn succeed"] += offer.in_turn and bool(offer.set_aside)

    def _settle(self, course: Resource, reserved: int = 0) -> list[Enrollment]:
        return self._take(self._plan(course, reserved))

    def _plan(self, course: Resource, reserved: int = 0, ask: Ask | None = None) -> list[Turn]:
        """Return the turns of the waiters until no seat is left; the student who asks has a turn on the ask's terms."""
        free = self.free(course) - reserved
        turns: list[Turn] = []
        if not self.promotes(course):
            return turns
        for row in self.rows:
            if row.course_id == course.key and row.state == "WAITLISTED" and free > 0:
                turns.append(self._turn(row, course, ask if ask and ask.student.key == row.student_id else None))
                free -= not turns[-1].obstacles
        return turns

    def _turn(self, row: Enrollment, course: Resource, ask: Ask | None) -> Turn:
        override, comment, without = (ask.override, ask.comment, ask.without) if ask else (NO_OVERRIDE, "", "")
        violated = self.violations(self.students[row.student_id], course, without)
        set_aside, obstacles = judge(violated, override.rules, row)
        return Turn(row, set_aside, obstacles, override.reason if set_aside else "", comment, ask is not None)

    def _take(self, turns: Sequence[Turn]) -> list[Enrollment]:
        """Promote and skip, and return the promoted enrollments."""
        for turn in turns:
            row = turn.row
            if not turn.obstacles:
                self._promote(turn)
            elif turn.obstacles != row.last_skip and not turn.is_callers:
                row.last_skip = turn.obstacles
                self._record_enrollment("PROMOTION_SKIPPED", row, violated=turn.obstacles)
                beyond = [one for one in turn.obstacles if one[0] in row.bypassed and not covers(row, one)]
                self.situations["a kept override does not cover a new fact"] += bool(beyond)
        return [turn.row for turn in turns if not turn.obstacles]

    def _promote(self, turn: Turn) -> None:
        row = turn.row
        now_violated = self.violations(self.students[row.student_id], self.courses[row.course_id])
        covered = [one for one in now_violated if one not in turn.set_aside and covers(row, one)]
        self.situations["a kept override covers its facts"] += bool(covered)
        row.state = "ENROLLED"
        row.version += 1
        row.keep(turn.set_aside)
        self._record_enrollment("STUDENT_PROMOTED", row, turn.reason, turn.comment, turn.set_aside)

    def _drop(self, row: Enrollment, late: Iterable[Violation], reason: str, comment: str = "") -> None:
        late = list(late)
        row.state = "DROPPED"
        row.version += 1
        row.keep(late)
        self._record_enrollment("STUDENT_UNENROLLED", row, reason, comment, late)

    def _refuse(self, refusing: Sequence[Violation]) -> None:
        if refusing:
            raise Refused(*(reason for reason, _ in refusing))

    # Look-ups and results

    def _existing(self, kind: str, resources: Mapping[str, Resource], key: str) -> Resource:
        if key not in resources or resources[key].deleted:
            raise Refused(f"{kind}_NOT_FOUND")
        return resources[key]

    def _live(self, student: Resource, course: Resource) -> Enrollment | None:
        pair = (student.key, course.key)
        return next((row for row in self.rows if row.live and (row.student_id, row.course_id) == pair), None)

    def _record_enrollment(
        self, type: str, row: Enrollment, reason: str = "", comment: str = "", violated: Iterable[Violation] = ()
    ) -> None:
        violations = tuple(violation[0] for violation in violated)
        self.events.append((type, row.student_id, row.course_id, reason, comment, violations))

    def _names(self, rows: Iterable[Enrollment]) -> list[tuple[str, str]]:
        return [(row.course_id, row.student_id) for row in rows]

    def name(self, row: Enrollment) -> str:
        """Return the name of an enrollment in commands."""
        of_course = [other for other in self.rows if other.course_id == row.course_id]
        return f"{row.course_id}#{1 + of_course.index(row)}"

    def enrollment(self, row: Enrollment) -> Result:
        """Return an enrollment as a result."""
        of_course = [other for other in self.rows if other.course_id == row.course_id]
        of_pair = [other for other in of_course if other.student_id == row.student_id]
        number, attempt = (1 + [other is row for other in rows].index(True) for rows in (of_course, of_pair))
        queue = [other for other in of_course if other.state == "WAITLISTED"]
        position = 1 + queue.index(row) if row in queue else 0
        overridden = (tuple(sorted(row.bypassed)), tuple(reason for reason, _ in row.kept))
        visible = (row.state, position, row.grade, row.passed, row.counted, *overridden, row.version)
        return ("enrollment", row.course_id, row.student_id, number, attempt, *visible)
