"""Measures how long the caller has been silent.

A noise is not a sign that the caller is there. But only the transcript shows that a turn was a noise. While a
transcript is awaited, ending.py does not ask whether the caller is there. If the transcript does not come in time, the
turn counts as a sign. The agent's answer to a noise does not count as speech either.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Presence:
    """The signs that one caller is there. Times are of the Trio clock."""

    sign_at: float = 0.0  # When the last certain sign came, or when the last function returned.
    perhaps_at: float = 0.0  # When the last turn ended whose words are not known yet. 0 if there is none.
    asked: int = 0  # How often the agent has asked whether the caller is there, since the last sign.
    # When both sides became silent before the first noise since the last sign. None if there was no noise.
    _silent_from: float | None = None

    def sign(self, at: float) -> None:
        """The caller spoke or pressed a key."""
        self.sign_at = max(self.sign_at, self.perhaps_at, at)
        self.perhaps_at, self.asked, self._silent_from = 0.0, 0, None

    def was_served(self, now: float) -> None:
        """Something that the caller waited for is done.

        The caller may need time to think about the result, so the silence is counted from now on.
        """
        self.sign_at = max(self.sign_at, now)

    def perhaps(self, at: float) -> None:
        """The caller's turn has ended. Its words will show whether it was a noise."""
        self.perhaps_at = at

    def words_are_overdue(self) -> None:
        """The words of the last turn did not come, so the turn counts as a sign."""
        if self.perhaps_at:
            self.sign(self.perhaps_at)

    def was_nothing(self, silent_from: float | None) -> None:
        """The last turn was a noise. `silent_from`: when both sides had become silent before this turn.

        None if that is not known.
        """
        self.perhaps_at = 0.0
        known = [at for at in (self._silent_from, silent_from) if at is not None]
        self._silent_from = min(known, default=None)

    def ask(self) -> None:
        """The agent asks whether the caller is there."""
        self.asked += 1

    def silent_s(self, now: float, agent_quiet_since: float, least_s: float) -> float:
        """How many seconds the caller has given no sign, and the agent has not spoken.

        The agent's answer to a noise does not count as speech once the agent has been quiet for `least_s`. But it
        counts after the agent has asked whether the caller is there.
        """
        since = max(self.sign_at, agent_quiet_since)
        if self._silent_from is not None and not self.asked and now - agent_quiet_since >= least_s:
            since = max(self.sign_at, self._silent_from)
        return now - since
