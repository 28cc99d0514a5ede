"""Converts the local hours of a business or a person to spans in minutes since 1970 (pure).

One rule is used: a local time means the first moment at which the clock shows this time or a later one. When the clocks
go forward, a time that does not exist means the moment of the change. When they go back, a time that comes twice means
the first of the two moments.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

from relay.business.rules import Business, Person, Span

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MIDNIGHT = dt.time()


def minute_of(moment: dt.datetime) -> int:
    """A time in whole minutes since 1970. Seconds are cut off."""
    return int((moment - _EPOCH).total_seconds() // 60)


def moment_of(minute: int, tz: ZoneInfo) -> dt.datetime:
    """A minute since 1970 as local time of the business."""
    return (_EPOCH + dt.timedelta(minutes=minute)).astimezone(tz)


def day_of(minute: int, tz: ZoneInfo) -> dt.date:
    """The local date of a minute since 1970."""
    return moment_of(minute, tz).date()


@lru_cache(maxsize=4096)
def first_minute(day: dt.date, minute: int, tz: ZoneInfo) -> int:
    """The first moment at which the clock shows this minute of the day (up to 48 h) or a later one."""
    wall = dt.datetime.combine(day, _MIDNIGHT) + dt.timedelta(minutes=minute)
    found = minute_of(wall.replace(tzinfo=tz))
    if moment_of(found, tz).replace(tzinfo=None) == wall:
        return found
    # No clock shows this time. `low` is before the change of the clocks, `found` is after it. Search between them.
    low = minute_of(wall.replace(tzinfo=tz, fold=1))
    while low + 1 < found:
        middle = (low + found) // 2
        if moment_of(middle, tz).replace(tzinfo=None) < wall:
            low = middle
        else:
            found = middle
    return found


def business_pieces(business: Business, first: dt.date, last: dt.date) -> list[Span]:
    """The opening hours of these days, of the day before and of the day after, because hours may go on after
    midnight."""
    return _pieces(first, last, business.tz, lambda day: _hours_on(business, day))


def person_pieces(
    business: Business, person: Person, first: dt.date, last: dt.date, pieces: list[Span], opened: Sequence[Span]
) -> list[Span]:
    """The spans in which this person can be booked: the person's own hours, as far as the business is open.

    `pieces` are the hours of the business. `opened` are the same hours, merged.
    """
    if person.hours is None and not person.off:
        return pieces
    own = _pieces(first, last, business.tz, lambda day: _own_hours_on(business, person, day))
    return [within for piece in own for within in clipped(piece, opened)]


def is_open(business: Business, minute: int) -> bool:
    """Whether the business is open at this minute."""
    day = day_of(minute, business.tz)
    return any(start <= minute < end for start, end in business_pieces(business, day, day))


def next_opening(business: Business, minute: int, days: int = 60) -> int | None:
    """The minute at which the business opens next. None if it stays closed for `days` days."""
    day = day_of(minute, business.tz)
    spans = merged(business_pieces(business, day, day + dt.timedelta(days=days)))
    return next((start for start, _ in spans if start > minute), None)


def hours_on(business: Business, day: dt.date) -> list[Span]:
    """The opening hours that begin on this day. Spans that touch become one, as a caller expects to hear them."""
    return merged(_spans_of(day, business.tz, _hours_on(business, day)))


def _hours_on(business: Business, day: dt.date) -> Sequence[Span]:
    special = business.special_day(day)
    return special.hours if special is not None else business.week[day.weekday()]


def _own_hours_on(business: Business, person: Person, day: dt.date) -> Sequence[Span]:
    if any(days.holds(day) for days in person.off):
        return ()
    return _hours_on(business, day) if person.hours is None else person.hours[day.weekday()]


def _spans_of(day: dt.date, tz: ZoneInfo, hours: Sequence[Span]) -> list[Span]:
    spans = [(first_minute(day, opens, tz), first_minute(day, closes, tz)) for opens, closes in hours]
    return [span for span in spans if span[0] < span[1]]


def _pieces(first: dt.date, last: dt.date, tz: ZoneInfo, hours: Callable[[dt.date], Sequence[Span]]) -> list[Span]:
    days = (first + dt.timedelta(days=number) for number in range(-1, (last - first).days + 2))
    return sorted(span for day in days for span in _spans_of(day, tz, hours(day)))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sort the spans, and drop empty ones. Spans that touch or overlap become one."""
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """The spans that lie in both lists."""
    found: list[Span] = []
    i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            found.append((start, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


def clipped(span: Span, spans: Sequence[Span]) -> Iterator[Span]:
    """The parts of one span that lie in other spans. The other spans must be sorted."""
    at = max(bisect_right(spans, (span[0], span[0])) - 1, 0)
    while at < len(spans) and spans[at][0] < span[1]:
        start, end = max(span[0], spans[at][0]), min(span[1], spans[at][1])
        if start < end:
            yield start, end
        at += 1
