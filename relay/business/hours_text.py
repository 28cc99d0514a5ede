"""Reads hours and days as an owner writes them (pure): `"09:00-12:30, 13:30-18:00"`, `"closed"`, `"12-24 to 12-26"`."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from typing import Final

from relay.business.rules import DAY_MIN, WEEKDAYS, Days, Span

HOURS_ALLOWED: Final = 'hours like "09:00-12:30, 13:30-18:00" or "18:00-02:00" (past midnight), or "closed"'
DAYS_ALLOWED: Final = (
    'a date like "2026-12-24", a date of every year like "12-24", or a span of either like "12-24 to 12-26"'
)
WEEKDAYS_ALLOWED: Final = "a day (mon tue wed thu fri sat sun) or several in a row like mon-fri"

_SPAN = re.compile(r"(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)")
_DAY = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")
_LEAP_YEAR: Final = 2000  # Stands for "every year". It is a leap year, so that 02-29 is allowed.


def read_hours(text: str) -> tuple[Span, ...]:
    """Read hours as spans in minutes of the day, in order. Raises ValueError, whose message names the mistake."""
    if text.strip().casefold() == "closed":
        return ()
    spans = sorted(_read_span(part.strip()) for part in text.split(","))
    for one, other in itertools.pairwise(spans):
        if other[0] < one[1]:
            raise ValueError(f"{_clock(*one)} and {_clock(*other)} overlap")
    if spans[-1][1] > spans[0][0] + DAY_MIN:
        raise ValueError(f"{_clock(*spans[-1])} overlaps the next day's {_clock(*spans[0])}")
    return tuple(spans)


def _read_span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time: allowed are {HOURS_ALLOWED}")
    opens, closes = (60 * int(found[i]) + int(found[i + 1]) for i in (1, 3))
    if int(found[2]) > 59 or int(found[4]) > 59 or opens >= DAY_MIN or closes > DAY_MIN:
        raise ValueError(f"{text!r} has a time that does not exist: allowed are {HOURS_ALLOWED}")
    if opens == closes:
        raise ValueError(f'{text!r} ends when it begins: write "00:00-24:00" for the whole day, or "closed"')
    return opens, closes if closes > opens else closes + DAY_MIN


def _clock(opens: int, closes: int) -> str:
    return "-".join(f"{minute // 60 % 24:02}:{minute % 60:02}" for minute in (opens, closes))


def read_weekdays(text: str) -> list[int]:
    """Read weekdays, counted from 0 (Monday). Raises ValueError, whose message names the mistake."""
    first, _, last = text.strip().casefold().partition("-")
    if first not in WEEKDAYS or (last and last not in WEEKDAYS) or text.endswith("-"):
        raise ValueError(f"allowed is {WEEKDAYS_ALLOWED}")
    since, until = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
    return list(range(since, until + 1)) if since <= until else [*range(since, 7), *range(until + 1)]


def read_days(value: object) -> Days:
    """Read one day or several days in a row, from a TOML date or a string.

    Raises ValueError with the mistake in words.
    """
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return Days(value, value)
    if not isinstance(value, str):
        raise ValueError(f"allowed is {DAYS_ALLOWED}")
    parts = [part.strip() for part in value.split(" to ")]
    if len(parts) > 2:
        raise ValueError(f"allowed is {DAYS_ALLOWED}")
    (first, yearly), (last, same) = _read_day(parts[0]), _read_day(parts[-1])
    if yearly != same:
        raise ValueError(f"{value!r} has a year on one side only: allowed is {DAYS_ALLOWED}")
    if last < first and not yearly:
        raise ValueError(f"{value!r} ends before it begins")
    return Days(first, last, yearly)


def _read_day(text: str) -> tuple[dt.date, bool]:
    found = _DAY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a day: allowed is {DAYS_ALLOWED}")
    try:
        return dt.date(int(found[1] or _LEAP_YEAR), int(found[2]), int(found[3])), found[1] is None
    except ValueError:
        raise ValueError(f"{text!r} does not exist in the calendar: allowed is {DAYS_ALLOWED}") from None
