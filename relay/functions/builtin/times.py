"""Writes days and hours in words, and checks the times that the model gives."""

from __future__ import annotations

import datetime as dt
from typing import Final
from zoneinfo import ZoneInfo

from relay.functions.outcome import NotPossible

AHEAD: Final = dt.timedelta(days=366)  # A year, also one with 366 days. A later date must be a mistake.


def day_words(day: dt.date) -> str:
    """`Tuesday, November 24`."""
    return f"{day:%A, %B} {day.day}"


def clock_words(time: dt.time | dt.datetime) -> str:
    """`7 PM`, `7:30 PM`, `noon`, `midnight`."""
    if time.minute == 0 and time.hour in (0, 12):
        return "noon" if time.hour else "midnight"
    minutes = f":{time.minute:02}" if time.minute else ""
    return f"{(time.hour + 11) % 12 + 1}{minutes} {'AM' if time.hour < 12 else 'PM'}"


def time_words(start: dt.datetime, tz: ZoneInfo) -> str:
    """An aware time in words, as local time of the business: `Tuesday, November 24 at 7 PM`."""
    local = start.astimezone(tz)
    return f"{day_words(local.date())} at {clock_words(local)}"


def in_business_time(start: dt.datetime, tz: ZoneInfo) -> dt.datetime:
    """The model's time with the offset of the business. A time without an offset is local time of the business.

    Raises NotPossible if the time has another offset. Models often add a "Z" to a local time, and the booking would be
    at another hour. Also raises NotPossible if the hour does not exist, because the clocks go forward.
    """
    local = start.replace(tzinfo=tz)
    if start.tzinfo is not None and start.utcoffset() != local.utcoffset():
        raise NotPossible(f"Give the time as local time in {tz.key}, without an offset or Z.")
    there_and_back = local.astimezone(dt.UTC).astimezone(tz)
    if there_and_back.replace(tzinfo=None) != local.replace(tzinfo=None):
        raise NotPossible("The clocks change that night and this hour does not exist. Ask for another time.")
    return local


def check_day(day: dt.date, now: dt.datetime, tz: ZoneInfo) -> None:
    """Raise NotPossible for a day that is past, or more than a year ahead."""
    today = now.astimezone(tz).date()
    if day < today:
        raise NotPossible(f"{day_words(day)} {day.year} is in the past; today is {day_words(today)} {today.year}.")
    if day - today > AHEAD:
        raise NotPossible(f"{day_words(day)} {day.year} is more than a year ahead. Ask for an earlier date.")


def check_start(start: dt.datetime, now: dt.datetime, tz: ZoneInfo) -> dt.datetime:
    """The start of an appointment, with an offset. Raises NotPossible if it is past, or more than a year ahead."""
    # The day is checked first, because a time in the year 1 or 9999 cannot be converted.
    check_day(start.date(), now, tz)
    local = in_business_time(start, tz)
    if local <= now:
        raise NotPossible(f"{time_words(local, tz)} has passed; it is now {clock_words(now.astimezone(tz))}.")
    return local
