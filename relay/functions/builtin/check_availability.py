"""Which times are free."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from msgspec import Meta

from relay.functions.builtin.times import check_day, clock_words, day_words
from relay.functions.registry import CallContext, function


@function(holding="One moment, I'm checking what is free.")
async def check_availability(
    call: CallContext,
    service: Annotated[str, Meta(description="What the caller wants, in a word or two.", min_length=1, max_length=60)],
    date: Annotated[dt.date, Meta(description="The day, such as 2026-11-24.")],
) -> dict[str, Any]:
    """Free times for a service on one day. Offer the caller two or three of them, not the whole list."""
    check_day(date, call.now(), call.tz)
    slots = await call.business.availability(service, date)
    local = sorted({slot.astimezone(call.tz) for slot in slots if slot > call.now()})
    on_the_day = [clock_words(slot) for slot in local if slot.date() == date]
    return {"date": date.isoformat(), "day": day_words(date), "free": on_the_day}
