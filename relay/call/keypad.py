"""Collects the keys that the caller presses, and decides whether they call a human or go to the model.

Keys that follow each other within KEYS_TOGETHER_S form one row. The human's key (usually 0) may also be a digit of a
number. So a row is judged only when it is complete. A row that has only the human's key calls a human. Any other row is
sent to the model.
"""

from __future__ import annotations

# If no key was pressed for this long, the row of keys is complete.
KEYS_TOGETHER_S = 1.5


class Keypad:
    """The newest row of keys, and the keys that the model does not have yet."""

    def __init__(self, human_key: str) -> None:
        self._human_key = human_key
        self._row = ""  # The newest row of keys, whether the model has it or not.
        self.untold = ""  # The keys that the model does not have yet.
        self._at = 0.0

    def press(self, key: str, now: float) -> None:
        if now - self._at >= KEYS_TOGETHER_S:
            self._row = ""
        self._row += key
        self.untold += key
        self._at = now

    @property
    def may_ask_for_human(self) -> bool:
        """True if the newest row has only the human's key, and has not called a human yet."""
        return bool(self._row) and set(self._row) == {self._human_key}

    def is_complete(self, now: float) -> bool:
        """True if the newest row is complete, and its keys have had no effect yet."""
        return bool(self.untold) and now - self._at >= KEYS_TOGETHER_S

    def take_call_for_human(self) -> None:
        """The row has called a human, so the model does not get it."""
        self.untold = self.untold.removesuffix(self._row)
        self._row = ""

    def take(self) -> str:
        """Return the keys that the model gets now. The newest row is not among them if it may still call a human."""
        kept = self._row if self.may_ask_for_human else ""
        taken, self.untold = self.untold.removesuffix(kept), kept
        return taken
