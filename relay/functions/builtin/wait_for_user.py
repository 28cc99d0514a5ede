"""Lets the agent say nothing."""

from __future__ import annotations

from relay.functions.registry import CallContext, StaySilent, function


@function(silent=True, tells=False)
async def wait_for_user(call: CallContext) -> StaySilent:
    """Stay silent and go on listening.
    Call it when the latest audio needs no answer: silence, background noise, or the caller talking to someone else.
    """
    return StaySilent()
