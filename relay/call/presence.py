"""Is the caller there? What they did last, and how long nobody has heard of them.

A noise is not a sign of life, but only its words show that it was one. So a turn counts as a sign at once, and stops
counting when it turns out to be nothing. What the agent answered to it does not count either.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Presence:
    """Signs of life of one caller, Trio clock."""

    sign_at: float = 0.0  # the last certain sign
    perhaps_at: float = 0.0  # a turn whose words are not known yet
    asked: int = 0  # how often the agent has asked whether they are there
    _silent_from: float | None = None  # since when both were silent before noises that were nothing

    def sign(self, at: float) -> None:
        """The caller spoke, or pressed a key, or something was done for them."""
        self.sign_at = max(self.sign_at, self.perhaps_at, at)
        self.perhaps_at, self.asked, self._silent_from = 0.0, 0, None

    def was_served(self, now: float) -> None:
        """Something that the caller waited for is done. They may think about it, but this is not a sign of life."""
        self.sign_at = max(self.sign_at, now)

    def perhaps(self, at: float) -> None:
        """There was a turn. Its words are awaited."""
        self.perhaps_at = at

    def words_are_overdue(self) -> None:
        """The words of that turn will not come: it counts."""
        if self.perhaps_at:
            self.sign(self.perhaps_at)

    def was_nothing(self, silent_from: float | None) -> None:
        """That turn was a noise. Before it, both had been silent since then (None: its beginning was not told)."""
        self.perhaps_at = 0.0
        known = [at for at in (self._silent_from, silent_from) if at is not None]
        self._silent_from = min(known, default=None)

    def ask(self) -> None:
        """The agent asks whether the caller is there."""
        self.asked += 1

    def silent_s(self, now: float, agent_quiet_since: float, least_s: float) -> float:
        """How long nobody has heard of the caller. The agent's own words count, but not what it said to a noise.

        `least_s`: the agent must have been quiet for this long.
        """
        since = max(self.sign_at, agent_quiet_since)
        if self._silent_from is not None and not self.asked and now - agent_quiet_since >= least_s:
            since = max(self.sign_at, self._silent_from)
        return now - since
