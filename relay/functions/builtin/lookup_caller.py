"""Looks up the caller's name, if the business knows it, and the caller's bookings."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from msgspec import Meta

from relay.functions.builtin.proof import prove
from relay.functions.builtin.times import time_words
from relay.functions.registry import CallContext, function


@function(holding="One moment, I'm looking that up.", names_caller="known")
async def lookup_caller(
    call: CallContext,
    name: Annotated[
        str, Meta(description="Only when the result asked for it: the name of the booking.", max_length=80)
    ] = "",
    day: Annotated[
        dt.date | None, Meta(description="Only when the result asked for it: the day of the booking, as 2026-11-24.")
    ] = None,
) -> dict[str, Any]:
    """The caller's name and coming appointments, by the number they call from.
    Use it when they ask about, cancel or move a booking. It takes no number: nobody else can be looked up.
    """
    if not call.caller_number:
        return {"known": False, "why": "The caller's number is hidden. Ask for the name instead."}
    if not call.attested:
        return await prove(call, name, day)
    caller = await call.business.caller(call.caller_number)
    appointments = await call.business.appointments(call.caller_number)
    call.own_ids.update(str(each.id) for each in appointments)
    coming = sorted((each for each in appointments if each.start > call.now()), key=lambda each: each.start)
    listed = [
        {"id": str(e.id), "service": e.service, "when": time_words(e.start, call.tz)}
        | ({"with": e.who} if e.who else {})
        for e in coming
    ]
    if caller is None:
        return {"known": False, "appointments": listed}
    call.believe(caller.name)
    return {
        "known": True,
        "name": caller.name,
        "verified": caller.verified,
        "notes": caller.notes,
        "appointments": listed,
    }
