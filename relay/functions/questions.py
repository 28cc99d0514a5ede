"""What the caller is asked before a function goes on: an invented name, a second booking at the same time (pure).

Each question is asked once. The same wish after it is believed, if the caller has said something in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

QUESTIONS_LIMIT: Final = 200  # a model that asks something new for ever is refused for ever


@dataclass(slots=True)
class Questions:
    """One call's questions, over all its streams."""

    _asked_at: dict[str, int | None] = field(default_factory=dict)  # question -> the caller's turn then
    _believed: set[str] = field(default_factory=set)

    def is_answered(self, question: str, caller_turn: int | None) -> bool:
        """True if this was asked before, and the caller has spoken since; else it is asked now.

        `caller_turn` is the number of the caller's last turn; None where nobody counts them.
        """
        if question in self._believed:
            return True
        if question in self._asked_at:
            asked_at = self._asked_at[question]
            if asked_at is None or caller_turn is None or caller_turn > asked_at:
                self._believed.add(question)
                return True
        elif len(self._asked_at) < QUESTIONS_LIMIT:
            self._asked_at[question] = caller_turn
        return False

    def believe(self, question: str) -> None:
        """No need to ask: the business knows it."""
        self._believed.add(question)
