"""Functions of a business's own, for FUNCTIONS. No recording may have a card number."""

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
