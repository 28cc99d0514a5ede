"""Takes a message for the business: into Postgres, and to the backend if the backend takes messages."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from relay.functions.arguments import Phone
from relay.functions.backend.client import BackendFault, Taken
from relay.functions.registry import CallContext, TakeMessage, function


@function(
    writes=True,
    holding="One moment, I'm writing that down.",
    same=(),  # A call has one message. Before a second one, the agent asks the caller.
)
async def take_message(
    call: CallContext,
    name: Annotated[str, Meta(description="Who leaves the message.", min_length=1, max_length=80)],
    message: Annotated[str, Meta(description="The message, in the caller's words.", min_length=1, max_length=500)],
    phone: Annotated[
        Phone | None, Meta(description="Only if they want to be called back on another number than this one.")
    ] = None,
) -> tuple[dict[str, Any], TakeMessage]:
    """Take a message for the staff, who will call back. Use it when no human can be reached, or on request."""
    number = phone or ""
    try:
        await call.business.message(call.idempotency_key, name=name, phone=number, message=message)
        delivered = True
    except (BackendFault, Taken):
        delivered = False  # TakeMessage writes the message into the table `messages`, delivered or not.
    return {"done": "message_taken", "callback_number_known": bool(number)}, TakeMessage(
        name, number, message, delivered
    )
