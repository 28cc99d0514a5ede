"""Finds free times: on a day, in a part of a day, with a person, or the next ones."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from relay.functions.builtin.times import check_day, clock_words, day_words, time_words
from relay.functions.registry import CallContext, function

PartOfDay = Literal["morning", "afternoon", "evening"]
NOON_H, EVENING_H = 12, 17
FEW: Final = 6  # At most this many times of one day are given. The agent offers two or three of them.
NEXT: Final = 4  # At most this many times are given if the next free ones are wanted.
A_DAY: Final = 2  # At most this many of these next free times are on the same day.
# To find the next free times, the backend is asked about 14 days at a time, at most four times: eight weeks.
WINDOW_DAYS, WINDOWS = 14, 4


@function(holding="One moment, I'm checking what is free.")
async def check_availability(
    call: CallContext,
    service: Annotated[str, Meta(description="What the caller wants, in a word or two.", min_length=1, max_length=60)],
    date: Annotated[
        dt.date | None, Meta(description="The day, such as 2026-11-24. Left out: the next free times from now on.")
    ] = None,
    part_of_day: Annotated[PartOfDay | None, Meta(description="Only if the caller said so.")] = None,
    with_whom: Annotated[str, Meta(description="Only if the caller asked for a person, by name.", max_length=60)] = "",
) -> dict[str, Any]:
    """Free times for a service on one day, or the next free ones. Offer the caller two or three of them. Other times
    may be free as well: to try one that is not listed, book it.
    """
    known: dict[str, Any] = {"with": with_whom} if with_whom else {}
    today = call.now().astimezone(call.tz).date()
    if date is None:
        return known | {"next_free": await _next(call, service, today, part_of_day, with_whom)}
    check_day(date, call.now(), call.tz)
    known |= {"date": date.isoformat(), "day": day_words(date)}
    slots = await call.business.availability(service, date, who=with_whom)
    on_the_day = [slot for slot in _coming(call, slots) if slot.date() == date]
    free = [slot for slot in on_the_day if _is_in(slot, part_of_day)]
    if free:
        more = {"more": len(free) - FEW} if len(free) > FEW else {}
        return known | {"free": [clock_words(slot) for slot in few(free, FEW)]} | more
    if on_the_day:
        known["free_at_other_times"] = [clock_words(slot) for slot in few(on_the_day, FEW)]
    after = date + dt.timedelta(days=1)
    return known | {"free": [], "next_free": await _next(call, service, after, part_of_day, with_whom)}


async def _next(
    call: CallContext, service: str, first: dt.date, part_of_day: PartOfDay | None, with_whom: str
) -> list[str]:
    """The next free times from this day on, on several days if possible."""
    for _ in range(WINDOWS):
        last = first + dt.timedelta(days=WINDOW_DAYS - 1)
        slots = await call.business.availability(service, first, until=last, who=with_whom)
        free = [slot for slot in _coming(call, slots) if _is_in(slot, part_of_day)]
        if free:
            return [time_words(slot, call.tz) for slot in _soonest(free)]
        first = last + dt.timedelta(days=1)
    return []


def _soonest(free: Sequence[dt.datetime]) -> list[dt.datetime]:
    found: list[dt.datetime] = []
    for day in sorted({slot.date() for slot in free}):
        of_day = [slot for slot in free if slot.date() == day]
        found += of_day[:1] + few(of_day[1:], A_DAY - 1)
    return found[:NEXT]


def _coming(call: CallContext, slots: Sequence[dt.datetime]) -> list[dt.datetime]:
    return sorted({slot.astimezone(call.tz) for slot in slots if slot > call.now()})


def _is_in(slot: dt.datetime, part_of_day: PartOfDay | None) -> bool:
    if part_of_day is None:
        return True
    part = "morning" if slot.hour < NOON_H else "afternoon" if slot.hour < EVENING_H else "evening"
    return part == part_of_day


def few(slots: Sequence[dt.datetime], number: int) -> list[dt.datetime]:
    """At most `number` of these times, spread over the whole list.

    The list is cut into `number` parts. From each part, the time that is easiest to say is taken.
    """
    if len(slots) <= number:
        return list(slots)
    ends = [len(slots) * part // number for part in range(number + 1)]
    return [min(slots[start:end], key=_trouble) for start, end in itertools.pairwise(ends)]


def _trouble(slot: dt.datetime) -> int:
    """How hard a time is to say: full hours are easiest, then half hours, then quarters."""
    return next(rank for rank, minutes in enumerate((60, 30, 15, 1)) if slot.minute % minutes == 0)
