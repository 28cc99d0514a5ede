"""Writes the facts of the business for the prompt, within a budget of tokens (pure).

Services and answers that do not fit are left out. The model looks them up with a function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.business.rules import Answer, Business, Service

# The most tokens of the services and of the answers in the prompt. The other lists have smaller budgets: fractions
# of these. All of these tokens are paid again in each turn. Tokens are counted as 3 bytes of UTF-8 each. A real
# token has 4 or 5 bytes in English and fewer in some other languages, so the count is hardly ever too low.
SERVICES_TOKENS: Final = 400
ANSWERS_TOKENS: Final = 400
BYTES_PER_TOKEN: Final = 3
SHORT_TOKENS: Final = 80  # An answer with more tokens is looked up, even if it would fit into the prompt.


def tokens(text: str) -> int:
    """An estimate of the number of tokens of a text. It is hardly ever too low."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Told:
    """The text for the prompt, and the answers that are not in it."""

    text: str
    looked_up: tuple[Answer, ...]


def told(business: Business) -> Told:
    """Write the part of the prompt about this business."""
    lines = [f"You answer for {business.name}" + (f", {business.place}." if business.place else ".")]
    services = [_service_words(business, each) for each in business.services]
    kept = _within(services, SERVICES_TOKENS)
    if kept:
        lines.append("What can be booked: " + "; ".join(services[number] for number in kept) + ".")
    if left_out := [each.name for each in business.services[len(kept) :]]:
        # At least one name fits: file.py allows 60 characters, which are at most 80 tokens.
        more = [left_out[number] for number in _within(left_out, SERVICES_TOKENS // 2)]
        lines.append("Also: " + ", ".join(more) + " (check_availability knows them all).")
    people = [f"{each.name}: {each.about}" for each in business.people if each.about]
    lines += [people[number] for number in _within(people, SERVICES_TOKENS // 4)]
    short = [number for number, each in enumerate(business.answers) if tokens(each.answer) <= SHORT_TOKENS]
    room = _within([f"{each.about}: {each.answer}" for each in (business.answers[n] for n in short)], ANSWERS_TOKENS)
    inside = {short[number] for number in room}
    lines += [f"{each.about}: {each.answer}" for number, each in enumerate(business.answers) if number in inside]
    looked_up = tuple(each for number, each in enumerate(business.answers) if number not in inside)
    if looked_up:
        topics = [each.about for each in looked_up]
        named = [topics[number] for number in _within(topics, ANSWERS_TOKENS // 4)]
        beyond = ", and other questions about the business" if len(named) < len(topics) else ""
        lines.append("Ask lookup_answer about: " + ", ".join(named) + beyond + ".")
    return Told("\n".join(lines), looked_up)


def _service_words(business: Business, service: Service) -> str:
    """A service in words: `haircut (30 minutes, 24 pounds, with Maria or Tom)`."""
    facts = [f"{service.minutes} minutes", service.price]
    facts += [f"with {' or '.join(service.people)}"] if service.people else []
    return f"{service.name} ({', '.join(fact for fact in facts if fact)})"


def _within(texts: list[str], budget: int) -> list[int]:
    """The indexes of the texts that fit into the budget. The first text that does not fit ends the list."""
    kept: list[int] = []
    for number, text in enumerate(texts):
        budget -= tokens(text) + 1
        if budget < 0:
            break
        kept.append(number)
    return kept
