"""Measures dead air: how long a caller who waits for an answer has heard nothing. Decides what must be done then.

Other modules may expect an answer or a session that never comes. So what they expect does not shorten the silence. The
silence is measured from the later of two moments: when something audible was last played, and when the caller last
spoke. UNRELATED_S gives the only exception. Whether an answer is under way or a function runs does not change the
silence. It only changes which step is due. The caller's wait begins when an answer is wanted or a key is pressed. It
ends when the caller hears an answer, or when none is needed. A phrase that asks for patience does not end the wait. In
the names of this file, "owed" means that the caller waits for an answer.

After LIMIT_S of dead air the caller hears a phrase, and an answer is asked for if none is coming. After another
LIMIT_S, another session is opened. After the third LIMIT_S, a human takes the call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from relay.call.vocabulary import ItemId

# What did not come: what the agent had promised, or the answer to a turn of the caller.
Missing = Literal["promise", "answer"]

# A caller should never hear silence for 6 s. The limit is lower, because the watchdog ticks every 0.2 s, and a clip
# begins with 0.1 s of silence. It is above the slowest answer of a working model, which came 5.2 s after the caller's
# last sound: 0.5 s until the request, and 4.7 s until the answer.
LIMIT_S = 5.3
# If a wait begins this long after the last sound, a key or a function's output caused it, and not the caller's speech.
# Then the silence before the wait does not count.
UNRELATED_S = 3.5
# After this silence (seconds), the model gets a message that something is missing (a nudge). For an unanswered turn the
# silence is longer, because the caller's words may have been for somebody else.
NUDGE_AFTER_S: dict[Missing, float] = {"promise": 2.0, "answer": 4.0}
# If something is still missing after this many nudges, a human takes over.
NUDGES = 2

Due = Literal["nothing", "nudge", "phrase", "session", "human"]
_DUE_IN_TURN: tuple[Due, ...] = ("phrase", "session", "human")


@dataclass(slots=True)
class Liveness:
    """Whether the caller of one stream waits for an answer, and what was already done about it."""

    steps: int = 0  # How many steps were taken since the caller last heard an answer.
    silent_turns: int = 0  # How many turns in a row the model has left unanswered.
    answered_at: float = 0.0  # When the caller last heard an answer (Trio clock).
    owed_at: float | None = None  # When the caller's wait began. None if the caller does not wait.
    nudges: int = 0  # How many nudges the model got since its last real answer.
    _missing: Missing | None = None
    _bridges: set[ItemId] = field(default_factory=set)  # Phrases that only ask for patience.

    @property
    def is_owed(self) -> bool:
        """True while the caller waits for an answer."""
        return self.owed_at is not None

    def owe(self, now: float) -> None:
        """An answer is wanted, so the caller begins to wait."""
        if self.owed_at is None:
            self.owed_at = now

    def forgive(self) -> None:
        """The caller does not wait any more."""
        self.owed_at, self._missing, self.steps = None, None, 0

    def missing(self, what: Missing, now: float) -> None:
        """What the agent promised, or an answer, has not come."""
        self.owe(now)
        self._missing = what

    def stays_silent(self, now: float) -> None:
        """The model has left a turn of the caller unanswered."""
        self.silent_turns += 1
        self.missing("answer", now)

    def nudge(self) -> Missing | None:
        """Count a nudge. Returns what is missing. None if an earlier nudge has told the model."""
        missing, self._missing = self._missing, None
        self.nudges += 1
        return missing

    def was_answered(self) -> None:
        """The model has answered, so `nudges` counts from zero again."""
        self.nudges = 0

    def bridge(self, item: ItemId) -> None:
        """This phrase only asks for patience, so it is not an answer."""
        self._bridges.add(item)

    def heard(self, item: ItemId, now: float) -> bool:
        """The caller hears this item. Returns True if a wait has ended with it."""
        if item in self._bridges:
            return False
        was_owed = self.is_owed
        self.forgive()
        self.answered_at, self.silent_turns = now, 0
        return was_owed

    def due(self, now: float, *, heard_until: float, spoke_until: float, under_way: bool, function_runs: bool) -> Due:
        """What is due now.

        The steps are "phrase", "session" and "human". They come in this order, and "human" repeats. While a function
        runs, "phrase" is returned in their place, and no step is counted. failover.py does what is due. The phrase that
        it plays makes the measured silence begin again.

        `under_way`: an answer is wanted, was asked for, or is being generated.
        """
        if self.owed_at is None and not under_way:
            return "nothing"
        since = max(heard_until, spoke_until)
        if self.owed_at is not None and self.owed_at - since > UNRELATED_S:
            since = self.owed_at
        if self._missing is not None and not under_way and now - since >= NUDGE_AFTER_S[self._missing]:
            return "nudge" if self.nudges < NUDGES else "human"
        if now - since < LIMIT_S:
            return "nothing"
        if function_runs:
            return "phrase"
        step = _DUE_IN_TURN[min(self.steps, len(_DUE_IN_TURN) - 1)]
        self.steps += 1
        return step
