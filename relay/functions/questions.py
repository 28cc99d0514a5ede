"""Keeps the questions that the caller must answer before a function runs: about an invented name, or a second booking.

Each question is asked once. If the model calls the function again in the same way, and the caller has spoken in
between, the call is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# A call has at most this many questions. A function call that needs one more question is refused.
QUESTIONS_LIMIT: Final = 200


@dataclass(slots=True)
class Questions:
    """The questions of one call, over all its streams."""

    # Question -> the number of the caller's newest turn when the question was asked.
    _asked_at: dict[str, int | None] = field(default_factory=dict)
    _believed: set[str] = field(default_factory=set)  # The questions that are answered.

    def is_answered(self, question: str, caller_turn: int | None) -> bool:
        """True if this question was asked before and the caller has spoken since. Otherwise, note that it is asked now.

        `caller_turn`: the number of the caller's newest turn. It is None if turns are not known.
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
