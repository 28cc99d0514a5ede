"""Questions that the caller must answer before a function goes on: an invented name, a second booking (pure).

Each question is asked once. If the same wish comes again, and the caller has spoken in between, it is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

QUESTIONS_LIMIT: Final = 200  # The most questions of a call. A wish that needs one more is refused.


@dataclass(slots=True)
class Questions:
    """The questions of one call, over all its streams."""

    # Question -> the number of the caller's turn when it was asked.
    _asked_at: dict[str, int | None] = field(default_factory=dict)
    _believed: set[str] = field(default_factory=set)

    def is_answered(self, question: str, caller_turn: int | None) -> bool:
        """True if this question was asked before, and the caller has spoken since. Otherwise it counts as asked now.

        `caller_turn` is the number of the caller's last turn. It is None if turns are not counted.
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
        """Do not ask this: the business knows the answer."""
        self._believed.add(question)
