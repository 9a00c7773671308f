"""Overrides set violations aside: in their call all violations of their rules, later only what they were given for.

An enrollment keeps the violations that were set aside for it. When its turn on the waitlist comes, they cover a new
violation of the same rule only if they include the facts of that violation: another hold, another conflict or more
credits need another override.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from registrar_server.core.keys import text_key
from registrar_server.core.records import Enrollment
from registrar_server.errors import Reason, Violation


@dataclass(frozen=True, slots=True)
class Override:
    """The rules that the caller sets aside, and the reason."""

    rules: frozenset[str] = frozenset()
    reason: str = ""


NO_OVERRIDE = Override()


Inclusion = Callable[[Sequence[Violation], Violation], bool]
"""Whether the facts of several violations include those of another one."""


class Verdict(NamedTuple):
    """The violations of a seat: those that the override of the call sets aside, and those that refuse the seat."""

    set_aside: tuple[Violation, ...] = ()
    refusing: tuple[Violation, ...] = ()


NO_VIOLATIONS = Verdict()


def keep(enrollment: Enrollment, set_aside: tuple[Violation, ...]) -> None:
    """Add violations that an override sets aside to those that an enrollment keeps."""
    if not set_aside:
        return
    rules = {*enrollment.bypassed_rules, *(violation.override_rule for violation in set_aside)}
    enrollment.bypassed_rules = tuple(reason.value for reason in Reason if reason in rules)
    enrollment.bypassed_violations = (*enrollment.bypassed_violations, *set_aside)


def judge(found: Sequence[Violation], override: Override, waiter: Enrollment | None = None) -> Verdict:
    """Return the verdict on violations, given the override of the call and the overrides that a waiter keeps."""
    if not found:
        return NO_VIOLATIONS
    # A long waitlist is judged as a whole, and most waiters neither make the call nor keep an override.
    set_aside: Sequence[Violation] = ()
    refusing = found
    if rules := override.rules:
        set_aside = [violation for violation in found if violation.override_rule in rules]
        refusing = [violation for violation in found if violation.override_rule not in rules]
    if waiter is not None and waiter.bypassed_rules:
        refusing = [violation for violation in refusing if not covers(waiter, violation)]
    return Verdict(tuple(set_aside), tuple(refusing))


def covers(waiter: Enrollment, violation: Violation) -> bool:
    """Return whether the overrides that a waiter keeps cover a violation.

    An override from before the violations were kept covers its rule as a whole.
    """
    if violation.override_rule not in waiter.bypassed_rules:
        return False
    given_for = [one for one in waiter.bypassed_violations if one.override_rule == violation.override_rule]
    includes = _INCLUDES.get(violation.reason)
    return not given_for or includes is None or includes(given_for, violation)


def _includes_names(name: str, names_of: Callable[[str], Iterable[str]]) -> Inclusion:
    def includes(given_for: Sequence[Violation], violation: Violation) -> bool:
        covered = {one for given in given_for for one in names_of(given.values[name])}
        return covered.issuperset(names_of(violation.values[name]))

    return includes


def _includes_total(given_for: Sequence[Violation], violation: Violation) -> bool:
    return _total_credits(violation) <= max(map(_total_credits, given_for))


def _total_credits(violation: Violation) -> Decimal:
    return Decimal(violation.values["enrolled_credits"]) + Decimal(violation.values["course_credits"])


_INCLUDES: Mapping[Reason, Inclusion] = MappingProxyType(
    {
        Reason.STUDENT_HOLD: _includes_names("code", lambda code: [text_key(code)]),
        Reason.DUPLICATE_COURSE: _includes_names("duplicate_course_id", lambda course_id: [course_id]),
        Reason.PREREQUISITE_UNMET: _includes_names("missing_course_ids", lambda course_ids: course_ids.split(", ")),
        Reason.SCHEDULE_CONFLICT: _includes_names("conflicting_course_id", lambda course_id: [course_id]),
        Reason.CREDIT_LIMIT_EXCEEDED: _includes_total,
    }
)
"""The rules whose violations have facts. An override of any other rule covers it as a whole."""
