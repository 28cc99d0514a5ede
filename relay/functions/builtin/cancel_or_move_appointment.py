"""Cancels an appointment of the caller, or moves it to another time."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from msgspec import Meta

from relay.functions.arguments import Phone
from relay.functions.backend.client import BackendFault, Refused, Taken
from relay.functions.builtin.proof import ASK
from relay.functions.builtin.times import check_start, time_words
from relay.functions.registry import CallContext, NotPossible, function

_GONE = "There is no such appointment under this caller's number any more. Look the caller up again."


@function(writes=True, holding="One moment, I'm changing that for you.", about="appointment")
async def cancel_or_move_appointment(
    call: CallContext,
    action: Annotated[Literal["cancel", "move"], Meta(description="What the caller wants.")],
    appointment_id: Annotated[
        str,
        Meta(description="`id` from lookup_caller or book_appointment, copied exactly.", min_length=1, max_length=100),
    ],
    new_start: Annotated[
        dt.datetime | None, Meta(description="To move: the new local time, such as 2026-11-24T19:00.")
    ] = None,
    phone: Annotated[
        Phone | None, Meta(description="Only if it was booked under another number than the one they call from.")
    ] = None,
) -> dict[str, Any]:
    """Cancel or move one of the caller's appointments. Call it once the caller has agreed.
    Get the id from lookup_caller first. It is done only when the result says so.
    """
    if action == "move" and new_start is None:
        raise NotPossible("Ask the caller for the new day and time.")
    local = check_start(new_start, call.now(), call.tz) if action == "move" and new_start else None
    await _check_own(call, appointment_id, phone)
    try:
        if local is None:
            await call.business.cancel(call.idempotency_key, appointment_id)
            return {"done": "cancelled", "id": appointment_id}
        await _move(call, appointment_id, local, phone)
        return {"done": "moved", "id": appointment_id, "when": time_words(local, call.tz)}
    except Taken as taken:
        free = [time_words(each, call.tz) for each in taken.alternatives]
        why = f"{time_words(local, call.tz)} is taken." if local else "It can no longer be cancelled."
        raise NotPossible(taken.why or why, free=free) from None
    except Refused as refused:
        if refused.status != 404:
            raise
        raise NotPossible(_GONE) from None


async def _move(call: CallContext, appointment_id: str, start: dt.datetime, phone: Phone | None) -> None:
    try:
        await call.business.move(call.idempotency_key, appointment_id, start)
    except BackendFault as fault:
        if not (fault.may_have_happened and phone):
            raise
        try:  # The answer was lost. The list of appointments shows whether it was done.
            standing = await call.business.appointments(phone)
        except BackendFault:
            raise fault from None
        if not any(str(each.id) == appointment_id and each.start == start for each in standing):
            raise


async def _check_own(call: CallContext, appointment_id: str, phone: Phone | None) -> None:
    """Raise NotPossible unless it is certain that this appointment is the caller's."""
    if appointment_id in call.own_ids:
        # This appointment is known to be the caller's. If this is a retry, the backend's list may not have it any
        # more.
        return
    if not call.caller_number or phone is None:
        raise NotPossible("The caller's number is hidden, so nothing can be changed. Offer a message or a human.")
    if not call.attested:
        raise NotPossible(ASK)
    if phone != call.caller_number and not await _same_person(call, phone):
        raise NotPossible("Only appointments under the number the caller calls from can be changed. Offer a human.")
    call.own_ids.update(str(each.id) for each in await call.business.appointments(phone))
    if appointment_id not in call.own_ids:
        raise NotPossible(_GONE)


async def _same_person(call: CallContext, phone: Phone) -> bool:
    """True if the backend is sure about both numbers, and says that both belong to the same person.

    Names do not count.
    """
    calling = await call.business.caller(call.caller_number)
    booked = await call.business.caller(phone)
    if calling is None or booked is None or not (calling.verified and booked.verified):
        return False
    return calling.id is not None and calling.id == booked.id
