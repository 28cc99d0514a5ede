"""The keys that the caller presses: rows of keys for the model, and the key that asks for a human.

A 0 inside a number is a digit. So a row is judged only when no key was pressed for `KEYS_TOGETHER_S`. If the row has
only the human's key, it asks for a human. Any other row is told to the model.
"""

from __future__ import annotations

# When nothing was pressed for this long, a row of keys is complete.
KEYS_TOGETHER_S = 1.5


class Keypad:
    """The keys that were pressed, and how many of them the model was told."""

    def __init__(self, human_key: str) -> None:
        self._human_key = human_key
        self._row = ""  # Keys that were pressed shortly after each other, told to the model or not.
        self.untold = ""  # The keys that the model was not told.
        self._at = 0.0

    def press(self, key: str, now: float) -> None:
        """A key was pressed."""
        if now - self._at >= KEYS_TOGETHER_S:
            self._row = ""
        self._row += key
        self.untold += key
        self._at = now

    @property
    def may_ask_for_human(self) -> bool:
        """True while the row has only the human's key and has had no effect yet."""
        return bool(self._row) and set(self._row) == {self._human_key}

    def is_complete(self, now: float) -> bool:
        """True if a row has ended that must still be told or judged."""
        return bool(self.untold) and now - self._at >= KEYS_TOGETHER_S

    def take_call_for_human(self) -> None:
        """The row asked for a human. The row is not told to the model."""
        self.untold = self.untold.removesuffix(self._row)
        self._row = ""

    def take(self) -> str:
        """The keys to tell the model now. A row that may still ask for a human waits."""
        kept = self._row if self.may_ask_for_human else ""
        taken, self.untold = self.untold.removesuffix(kept), kept
        return taken
