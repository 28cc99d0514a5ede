"""Answers what callers often ask, if the answers do not fit into the prompt."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from relay.functions.registry import CallContext, function

AT_ONCE = 3


@function()
async def lookup_answer(
    call: CallContext,
    about: Annotated[str, Meta(description="What the caller asks about, in a few words.", min_length=1, max_length=80)],
) -> dict[str, Any]:
    """What the business answers to a question about itself: the subjects are named in your instructions."""
    asked = _words(about)
    scored = {subject: len(asked & _words(subject)) for subject in call.answers}
    best = max(scored.values(), default=0)
    found = [call.answers[subject] for subject, score in scored.items() if score == best > 0]
    if found:
        return {"answers": found[:AT_ONCE]}
    return {"answers": [], "known": list(call.answers), "next": "Say that you do not know, and offer a message."}


def _words(text: str) -> frozenset[str]:
    """The words of the text, without the s of a plural."""
    plain = "".join(letter if letter.isalnum() else " " for letter in text.casefold())
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in plain.split())
