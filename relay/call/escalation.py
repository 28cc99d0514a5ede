"""Ways to a human that need no model: words of the caller, counted failures.

The rules are data: `prompts/escalation.toml`.
Upstream: machine.py asks with each transcript.  Downstream: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


class RulesInvalid(ValueError):
    """The operator's file cannot be used; the message names every mistake in it."""


def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    if not phrases:
        return None
    words = "|".join(re.escape(p.casefold()).replace(r"\ ", r"\s+") for p in sorted(phrases, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a call go to a human, or to the harder model."""

    human_words: tuple[str, ...] = ()
    emergency_words: tuple[str, ...] = ()
    angry_words: tuple[str, ...] = ()
    topics_hard: tuple[str, ...] = ()
    misunderstood_words: tuple[str, ...] = ()
    hard_after_misunderstandings: int = 2
    human_after_misunderstandings: int = 3
    human_after_failures: int = 2
    human_digit: str = "0"
    _patterns: dict[str, re.Pattern[str] | None] = field(default_factory=dict, compare=False, repr=False)

    def says(self, kind: str, text: str) -> bool:
        """True if `text` holds one of the phrases of `kind` ("human_words", ...), as whole words, any case."""
        if kind not in self._patterns:
            self._patterns[kind] = _pattern(getattr(self, kind))
        pattern = self._patterns[kind]
        return bool(pattern and pattern.search(text.casefold()))

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> Rules:
        """Check a parsed TOML table. Raises RulesInvalid naming every key that is unknown or of the wrong kind."""
        mistakes: list[str] = []
        values: dict[str, object] = {}
        lists = {k for k in cls.__dataclass_fields__ if k.endswith("_words") or k.startswith("topics")}
        numbers = {k for k in cls.__dataclass_fields__ if "_after_" in k}
        for key, value in table.items():
            if key in lists and isinstance(value, list) and all(isinstance(v, str) and v.strip() for v in value):
                values[key] = tuple(value)
            elif key in numbers and isinstance(value, int) and not isinstance(value, bool) and value >= 1:
                values[key] = value
            elif key == "human_digit" and isinstance(value, str) and re.fullmatch(r"[0-9*#]?", value):
                values[key] = value
            elif key in lists:
                mistakes.append(f"{key} must be a list of phrases")
            elif key in numbers:
                mistakes.append(f"{key} must be a whole number from 1")
            elif key == "human_digit":
                mistakes.append("human_digit must be one key of a phone, or empty")
            else:
                mistakes.append(f"{key} is not known here")
        if mistakes:
            raise RulesInvalid("; ".join(mistakes))
        return cls(**values)  # type: ignore[arg-type] # checked key by key above
