"""A business's own functions, for FUNCTIONS: nothing of a card number may be in a recording."""

from __future__ import annotations

from relay.functions import CallContext, PauseRecording, ResumeRecording, function


@function()
async def take_card(call: CallContext) -> PauseRecording:
    """Call this before you ask for a card number."""
    return PauseRecording("card number")


@function()
async def card_taken(call: CallContext) -> ResumeRecording:
    """Call this when the card number was said."""
    return ResumeRecording()
