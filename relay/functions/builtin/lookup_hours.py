"""Looks up when the business is open."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from msgspec import Meta

from relay.functions.backend.contract import clock
from relay.functions.builtin.times import check_day, clock_words, day_words
from relay.functions.registry import CallContext, function


@function(holding="One moment, I'm looking up our hours.")
async def lookup_hours(
    call: CallContext,
    date: Annotated[
        dt.date | None, Meta(description="The day asked about, such as 2026-11-24. Today if left out.")
    ] = None,
) -> dict[str, Any]:
    """Opening hours of the business on one day. Use it for every question about when it is open; do not guess."""
    now = call.now().astimezone(call.tz)
    day = date or now.date()
    check_day(day, now, call.tz)
    hours = await call.business.hours(day)
    known: dict[str, Any] = {"date": day.isoformat(), "day": day_words(day), "closed": hours.closed}
    if not hours.closed and hours.open and hours.close:
        known |= {
            "open": clock_words(clock(hours.open, call.tz, day)),
            "close": clock_words(clock(hours.close, call.tz, day)),
        }
    if day == now.date():
        known["now"] = clock_words(now)  # The model has no clock, and callers ask whether the business is still open.
    return known | ({"notes": hours.notes} if hours.notes else {})
