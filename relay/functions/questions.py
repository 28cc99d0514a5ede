"""Keeps the questions that the caller must answer before a function runs: about an invented value, or a second booking.

A question counts as answered if a later function call needs the same question, and the caller has spoken in between.
An answered question is not asked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# A call can have at most this many questions. A further question is not noted, so it can never be answered.
QUESTIONS_LIMIT: Final = 200


@dataclass(slots=True)
class Questions:
    """The questions of one call, over all its streams."""

    # Question -> the number of the caller's newest turn when the question was asked.
    _asked_at: dict[str, int | None] = field(default_factory=dict)
    _believed: set[str] = field(default_factory=set)  # The questions that are answered.

    def is_answered(self, question: str, caller_turn: int | None) -> bool:
        """True if this question is answered. If it was not asked before, note that it is asked now.

        `caller_turn`: the number of the caller's newest turn. If it is None (not known), a question counts as answered
        when it comes for the second time.
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
        """Note that this question is answered already. It is not asked."""
        self._believed.add(question)
