"""The rest of an answer that was given up for an interruption, kept until its words show whether it was one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GivenUp:
    """What the caller's last interruption cut off."""

    at: float
    parts: tuple[tuple[str, bytes], ...]  # words and sound, from the last pause before the cut
    was_asking: bool  # what was heard of it asks something, or had begun to: then "yes" is an answer
    withheld_until: float = 0.0  # what the model says to the interruption is not heard before
    was_none: bool = False  # its words meant nothing, at a moment when somebody spoke or more words were awaited


@dataclass(slots=True)
class Rest:
    """At most one rest of a call."""

    kept: GivenUp | None = None

    def keep(self, given_up: GivenUp) -> None:
        """The agent may go on with this."""
        self.kept = given_up

    def forget(self) -> None:
        """There is something else to say, or nothing to go back to."""
        self.kept = None

    def is_withheld(self, now: float) -> bool:
        """True while what the model says to the interruption waits for the words."""
        return self.kept is not None and now < self.kept.withheld_until
