"""Books an appointment."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from msgspec import Meta

from relay.functions.arguments import Phone
from relay.functions.backend.client import Appointment, BackendFault, Taken
from relay.functions.builtin.times import check_start, time_words
from relay.functions.registry import CallContext, NotPossible, function


@function(
    writes=True,
    holding="One moment, I'm booking that for you.",
    # Other notes or another spelling of the name do not make another booking.
    same=("start",),
    about="appointment",
    names_caller="said",
)
async def book_appointment(
    call: CallContext,
    name: Annotated[
        str, Meta(description="The name for the booking, as the caller gave it.", min_length=1, max_length=80)
    ],
    service: Annotated[str, Meta(description="What is booked, in a word or two.", min_length=1, max_length=60)],
    start: Annotated[dt.datetime, Meta(description="Local time of the business, such as 2026-11-24T19:00.")],
    phone: Annotated[
        Phone | None,
        Meta(description="Only if the caller wants another number on the booking than the one they call from."),
    ] = None,
    notes: Annotated[str, Meta(description="Wishes the caller mentioned, or empty.", max_length=300)] = "",
    with_whom: Annotated[str, Meta(description="Only if the caller asked for a person, by name.", max_length=60)] = "",
) -> dict[str, Any]:
    """Book an appointment. Call it once the caller has agreed to name, service, day and time.

    It is booked only when the result says so; if the time is taken, the result holds free ones to offer.
    """
    local = check_start(start, call.now(), call.tz)
    if phone is None:
        raise NotPossible("The caller's number is hidden. Ask for a phone number to put on the booking.")
    try:
        booked = await call.business.book(
            call.idempotency_key, name=name, phone=phone, service=service, start=local, notes=notes, who=with_whom
        )
    except BackendFault as fault:
        made = await _on_the_books(call, phone, local) if fault.may_have_happened else None
        if made is None:
            raise
        booked = made
    except Taken as taken:
        own = await _on_the_books(call, phone, local) if phone == call.caller_number and call.attested else None
        if own is not None:
            call.own_ids.add(str(own.id))
            words = f"It is this caller who has {time_words(local, call.tz)}: it is booked already."
            raise NotPossible(words, id=str(own.id)) from None
        free = [time_words(each, call.tz) for each in taken.alternatives]
        raise NotPossible(taken.why or f"{time_words(local, call.tz)} is taken.", free=free) from None
    call.own_ids.add(str(booked.id))
    result = {"done": "booked", "id": str(booked.id), "when": time_words(booked.start, call.tz), "name": name}
    return result | ({"with": booked.who} if booked.who else {})


async def _on_the_books(call: CallContext, phone: Phone, start: dt.datetime) -> Appointment | None:
    """The appointment at this time under this number. None if there is none, or if the backend does not answer."""
    try:
        standing = await call.business.appointments(phone)
    except BackendFault:
        return None
    return next((each for each in standing if each.start == start), None)
