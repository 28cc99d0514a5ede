"""Keeps the rest of an answer that was given up for an interruption, until the caller's words are known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GivenUp:
    """The answer that the caller's last interruption has cut off."""

    at: float
    # For each item: its words and its audio (mu-law), from the last pause before the cut (or from the cut) to the end.
    parts: tuple[tuple[str, bytes], ...]
    was_asking: bool  # True if the heard part asks something. Then "yes" is an answer and not a backchannel.
    withheld_until: float = 0.0  # Until this time, the model's answer to the interruption is not played.
    was_none: bool = False  # True if the caller's words meant nothing, but the agent could not go on at that moment.


@dataclass(slots=True)
class Rest:
    """Holds the rest of at most one answer."""

    kept: GivenUp | None = None

    def keep(self, given_up: GivenUp) -> None:
        """Keep this rest. The agent may go on with it."""
        self.kept = given_up

    def forget(self) -> None:
        """Forget the rest: the agent says something else, or has gone on with it."""
        self.kept = None

    def is_withheld(self, now: float) -> bool:
        """True while the model's answer to the interruption waits for the words of the interruption."""
        return self.kept is not None and now < self.kept.withheld_until
