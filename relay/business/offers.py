"""Finds which times are free, which of them are offered, and which person or place is booked (pure).

Rule 1: an appointment lies within the opening hours, and within the hours of its person. Its buffer may end after
        closing time.
Rule 2: its person or place is free during the appointment and its buffer.
Rule 3: it begins at least the service's `notice_minutes` after now, and at most its `ahead_days` after today.

Every time that keeps these rules can be booked. But only times in steps of `step_minutes` are offered. The steps begin
where the hours of the business (or of the person) begin, or at the next round time after that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final

from relay.business.opening import (
    business_pieces,
    clipped,
    common,
    day_of,
    first_minute,
    merged,
    moment_of,
    person_pieces,
)
from relay.business.rules import DAY_MIN, Business, Resource, Service, Span

# The clocks never change twice within this time. In Morocco they change twice in about 35 days, before and after
# Ramadan.
SEASON_MIN: Final = 28 * DAY_MIN

Busy = Mapping[Resource, Sequence[Span]]


@dataclass(frozen=True, slots=True)
class Choice:
    """People or places with the same hours, and the spans in which an appointment with them may begin."""

    resources: tuple[Resource, ...]
    pieces: tuple[Span, ...]
    fits: tuple[Span, ...]  # The end of a span is the first minute that is too late.


def choices(business: Business, service: Service, first: dt.date, last: dt.date, who: str = "") -> list[Choice]:
    """The people or places that can do the service on these days. For people: if `who` is given, only this person."""
    pieces = business_pieces(business, first, last)
    if service.places:
        return [_choice(tuple(business.resources_of(service)), pieces, service)]
    opened = merged(pieces)
    people = [each for each in business.people if each.name in service.people and who in ("", each.name)]
    return [
        _choice((Resource(each.name),), person_pieces(business, each, first, last, pieces, opened), service)
        for each in sorted(people, key=lambda each: service.people.index(each.name))
    ]


def _choice(resources: tuple[Resource, ...], pieces: Sequence[Span], service: Service) -> Choice:
    fits = [(start, end - service.minutes + 1) for start, end in merged(pieces) if end - start >= service.minutes]
    return Choice(resources, tuple(pieces), tuple(fits))


def bookable(business: Business, service: Service, now: int) -> Span:
    """The first minute at which the service can be booked (notice), and the first at which it cannot any more
    (horizon)."""
    beyond = day_of(now, business.tz) + dt.timedelta(days=service.ahead_days + 1)
    return now + max(service.notice_minutes, 1), first_minute(beyond, 0, business.tz)


def open_starts(choice: Choice, service: Service, busy: Busy, limits: Span) -> list[Span]:
    """The spans in which an appointment may begin, because at least one person or place is free."""
    need = service.minutes + service.buffer_minutes
    within = common(choice.fits, [limits])
    return merged(
        span for resource in choice.resources for span in common(within, _gaps(busy.get(resource, ()), need, limits))
    )


def _gaps(busy: Sequence[Span], need: int, limits: Span) -> list[Span]:
    """The spans in which something of `need` minutes may begin."""
    gaps: list[Span] = []
    free_from = limits[0]
    for start, end in merged(busy):
        if start - need + 1 > free_from:
            gaps.append((free_from, start - need + 1))
        free_from = max(free_from, end)
    if free_from < limits[1]:
        gaps.append((free_from, limits[1]))
    return gaps


def offered(business: Business, service: Service, choices_: Sequence[Choice], busy: Busy, limits: Span) -> list[int]:
    """The starts that are offered, in order. When the clocks go back, a time that comes twice is offered once."""
    found: set[int] = set()
    for choice in choices_:
        spans = open_starts(choice, service, busy, limits)
        for piece in choice.pieces:
            begin = _first_step(piece, service.step_minutes, business)
            for since, until in clipped((begin, piece[1]), spans):
                next_step = since + (begin - since) % service.step_minutes
                found.update(range(next_step, until, service.step_minutes))
    return _once_each(sorted(found), business)


def _first_step(piece: Span, step: int, business: Business) -> int:
    """The first start after opening: the opening time, rounded up to a multiple of gcd(step, 60) minutes."""
    part, minute = gcd(step, 60), piece[0]
    while past := moment_of(minute, business.tz).minute % part:
        minute += part - past  # More than one round is needed only if the clock changes by half an hour in between.
    return minute


def _once_each(minutes: list[int], business: Business) -> list[int]:
    """These minutes, without those at which the clock shows a time for the second time."""
    if not minutes:
        return minutes
    before, after = (moment_of(each, business.tz).utcoffset() for each in (minutes[0] - DAY_MIN, minutes[-1]))
    if before == after and minutes[-1] - minutes[0] < SEASON_MIN:
        return minutes  # The clocks do not change within these minutes.
    return [minute for minute in minutes if not moment_of(minute, business.tz).fold]


def free_resource(
    choices_: Sequence[Choice], service: Service, busy: Busy, start: int, limits: Span
) -> Resource | None:
    """The first person or place that is free at this minute. None if nobody is free."""
    if not limits[0] <= start < limits[1]:
        return None
    end = start + service.minutes + service.buffer_minutes
    for choice in choices_:
        if any(first <= start < beyond for first, beyond in choice.fits):
            for resource in choice.resources:
                if all(until <= start or end <= since for since, until in busy.get(resource, ())):
                    return resource
    return None


def nearest(free: Sequence[int], start: int, number: int) -> list[int]:
    """The free times nearest to the wanted time, in the order of time."""
    return sorted(sorted(free, key=lambda each: (abs(each - start), each))[:number])
