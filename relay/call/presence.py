"""Whether the caller is still there: what they did last, and how long nobody has heard from them.

A noise is no sign of life, but only the transcript shows that it was a noise. So a turn counts as a sign at once. If it
turns out to be a noise, it no longer counts. The agent's answer to the noise does not count either.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Presence:
    """Signs of life of one caller. Times are of the Trio clock."""

    sign_at: float = 0.0  # The last certain sign.
    perhaps_at: float = 0.0  # The last turn whose words are not known yet.
    asked: int = 0  # How often the agent has asked whether the caller is there.
    _silent_from: float | None = None  # When both sides fell silent before noises that were no turns.

    def sign(self, at: float) -> None:
        """The caller spoke, or pressed a key, or was served."""
        self.sign_at = max(self.sign_at, self.perhaps_at, at)
        self.perhaps_at, self.asked, self._silent_from = 0.0, 0, None

    def was_served(self, now: float) -> None:
        """Something that the caller waited for is done. The caller may think about it. This is no sign of life."""
        self.sign_at = max(self.sign_at, now)

    def perhaps(self, at: float) -> None:
        """There was a turn whose words will come."""
        self.perhaps_at = at

    def words_are_overdue(self) -> None:
        """The words of that turn will not come, so the turn counts as a sign."""
        if self.perhaps_at:
            self.sign(self.perhaps_at)

    def was_nothing(self, silent_from: float | None) -> None:
        """That turn was a noise. `silent_from`: both sides were silent since then. None: not known."""
        self.perhaps_at = 0.0
        known = [at for at in (self._silent_from, silent_from) if at is not None]
        self._silent_from = min(known, default=None)

    def ask(self) -> None:
        """The agent asks whether the caller is there."""
        self.asked += 1

    def silent_s(self, now: float, agent_quiet_since: float, least_s: float) -> float:
        """How long nobody has heard from the caller. The agent's words count as heard, except an answer to a noise.

        `least_s`: the agent must have been quiet for at least this long.
        """
        since = max(self.sign_at, agent_quiet_since)
        if self._silent_from is not None and not self.asked and now - agent_quiet_since >= least_s:
            since = max(self.sign_at, self._silent_from)
        return now - since
