"""The rest of an answer that was given up for an interruption. The rest is kept until the caller's words are known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GivenUp:
    """What the caller's last interruption cut off."""

    at: float
    parts: tuple[tuple[str, bytes], ...]  # Words and sound of each part, from the last pause before the cut.
    was_asking: bool  # True if the heard part asks something, or had begun to. Then "yes" is an answer.
    withheld_until: float = 0.0  # The model's answer to the interruption is not heard before this time.
    was_none: bool = False  # True if the words meant nothing, but the agent could not go on when they came.


@dataclass(slots=True)
class Rest:
    """At most one rest of a call."""

    kept: GivenUp | None = None

    def keep(self, given_up: GivenUp) -> None:
        """Keep this. The agent may go on with it."""
        self.kept = given_up

    def forget(self) -> None:
        """There is something else to say, or no rest to go on with."""
        self.kept = None

    def is_withheld(self, now: float) -> bool:
        """True while the model's answer to the interruption waits for the caller's words."""
        return self.kept is not None and now < self.kept.withheld_until
