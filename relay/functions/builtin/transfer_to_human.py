"""Connects the caller with a human."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from relay.functions.registry import CallContext, TransferCall, function


@function(tells=False)
async def transfer_to_human(
    call: CallContext,
    reason: Annotated[str, Meta(description="Why, in a few words.", min_length=1, max_length=120)],
    summary: Annotated[
        str,
        Meta(
            description="One sentence for the human: who calls, what they want, what was done so far.",
            min_length=1,
            max_length=300,
        ),
    ],
) -> TransferCall:
    """Connect the caller with a human. Say first, in one sentence, that you are connecting them.
    Use it when they ask for a person, when something failed twice, and for everything you may not do yourself.
    """
    return TransferCall(reason, summary)
