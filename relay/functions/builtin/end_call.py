"""Lets the agent end the call."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from relay.functions.registry import CallContext, EndCall, function


@function(tells=False)
async def end_call(
    call: CallContext,
    reason: Annotated[str, Meta(description="Why the call is over, in a few words.", min_length=1, max_length=120)],
) -> EndCall:
    """Hang up. Say goodbye in the same turn, before you call it, and only when the caller needs nothing more."""
    return EndCall(reason)
