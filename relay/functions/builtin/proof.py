"""Protects bookings if the caller's number may be somebody else's.

The caller must know the name and the day of a booking.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Any

from relay.functions.builtin.times import time_words
from relay.functions.registry import CallContext

ASK = (
    "The phone network does not vouch for this number, so nothing may be told or changed by it alone. "
    "Ask for the name and the day of the booking, and look the caller up with both."
)
NOT_FOUND = "No booking under this number has this name and this day. Offer a message or a human."


async def prove(call: CallContext, name: str, day: dt.date | None) -> dict[str, Any]:
    """The bookings of this day, if the name and the day are right.

    If they are not, the result only says what the agent must do next. It repeats nothing that the business knows.
    """
    if not name.strip() or day is None:
        return {"known": False, "why": ASK}
    caller = await call.business.caller(call.caller_number)
    known_as = caller.name if caller is not None else None
    found = [
        each
        for each in await call.business.appointments(call.caller_number)
        if each.start.astimezone(call.tz).date() == day and same_name(name, each.name or known_as or "")
    ]
    if not found:
        return {"known": False, "why": NOT_FOUND}
    call.own_ids.update(str(each.id) for each in found)
    listed = [{"id": str(e.id), "service": e.service, "when": time_words(e.start, call.tz)} for e in found]
    return {"known": False, "appointments": listed}


def same_name(said: str, known: str) -> bool:
    """True if the caller's name has all parts of the known name, or two of them: "Ms Dana Reed" fits "Dana Reed"."""
    theirs, ours = _parts(said), _parts(known)
    return bool(ours) and (ours <= theirs or len(ours & theirs) >= 2)


def _parts(name: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return {part for part in letters.split() if len(part) > 1}
