"""Holds the patterns of claims: how an agent says that a deed is done. The words are in english.toml."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# The deeds, with the names that functions use in `done`. LISTED: a look-up showed an appointment. DONE: a claim that
# does not say what was done. Any deed but LISTED makes it true.
BOOKED, CANCELLED, MOVED, MESSAGE, SENT, LISTED = "booked", "cancelled", "moved", "message_taken", "sent", "listed"
DONE: Final = "done"


@dataclass(frozen=True)
class Pattern:
    """A way to claim a deed.

    The claim is true if one of `deeds` was done. english.toml explains `is_state` and `is_weak`. `is_own`: True if the
    pattern fits only clauses with "I" or "we". It is not searched in other clauses.
    """

    regex: re.Pattern[str]
    deeds: frozenset[str]
    is_state: bool
    is_weak: bool
    is_own: bool


_FILE: Final = tomllib.loads(Path(__file__).with_name("english.toml").read_text("utf-8"))


def _filled(text: str) -> str:
    """The text with each {NAME} replaced by its words, which may have names themselves."""
    while names := re.findall(r"\{([A-Z_]+)\}", text):
        for name in names:
            text = text.replace(f"{{{name}}}", _FILE["words"][name])
    return text


def _pattern(text: str, group: dict[str, Any]) -> Pattern:
    return Pattern(
        re.compile(_filled(text)),
        frozenset(group["deeds"]),
        is_state=group.get("is_state", False),
        is_weak=group.get("is_weak", False),
        is_own=text.startswith(_OWN),
    )


_OWN: Final = ("{I}", "{MANAGED}", "{FINISHED}", r"\bi(", r"\bwe(")
CLAIMS: Final = tuple(_pattern(text, group) for group in _FILE["claims"] for text in group["patterns"])
OWN: Final = re.compile(r"\b(?:i|we)\b")
WHEN: Final = _filled("{WHEN}")
