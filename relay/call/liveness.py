"""Dead air: how long a waiting caller has heard nothing, measured at the playout, and what must be done against it.

Each of the other rooms has a reason why the agent may be silent: an answer is coming, a session is being opened, a move
waits. Any of these reasons may be wrong. So this room does not use these reasons. This room knows three things: when
something audible was last playing, when the caller last spoke, and whether the caller is owed an answer. A debt begins
with any wish for an answer. The debt ends when audio that answers is heard, whatever happened to the wish. Our own
phrases that ask for patience do not end it.

After LIMIT_S of dead air the caller hears a phrase, and an answer is asked for if none is coming. After the same time
again, another session is opened. After the third time, a human takes the call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from relay.call.vocabulary import ItemId

# What is missing: an action that the agent promised, or an answer to a turn that the model left unanswered.
Missing = Literal["promise", "answer"]

# Nobody should hear nothing for 6 s. The limit is lower, because the watchdog looks five times a second and a clip
# begins with 0.1 s of silence. The slowest first audio of a working model came 4.7 s after the request, and the request
# comes 0.5 s after the caller's last sound.
LIMIT_S = 5.3
# A debt that begins this much later than the last sound was not caused by the caller's turn, but by a key or a
# function's answer. Then the silence before the debt does not count.
UNRELATED_S = 3.5
# If the agent promised to look something up and did not, it is told after this time to do so. A turn that the model
# left unanswered waits longer, because it may have been for somebody else.
NUDGE_AFTER_S: dict[Missing, float] = {"promise": 2.0, "answer": 4.0}
# The model is told this often what is missing. After that a human takes over.
NUDGES = 2

Due = Literal["nothing", "nudge", "phrase", "session", "human"]
_DUE_IN_TURN: tuple[Due, ...] = ("phrase", "session", "human")


@dataclass(slots=True)
class Liveness:
    """The debt to the caller of one stream, and since when the caller hears nothing."""

    steps: int = 0  # How often something was due since the caller was last answered.
    silent_turns: int = 0  # Turns of the caller in a row that the model left unanswered.
    answered_at: float = 0.0  # When a debt last ended, Trio clock.
    owed_at: float | None = None
    nudges: int = 0  # How often the model was told what is missing, since its last real answer.
    _missing: Missing | None = None
    _bridges: set[ItemId] = field(default_factory=set)  # Our phrases that ask for patience.

    @property
    def is_owed(self) -> bool:
        """True while the caller is owed an answer that was not heard yet."""
        return self.owed_at is not None

    def owe(self, now: float) -> None:
        """An answer is wanted, so the caller is owed one."""
        if self.owed_at is None:
            self.owed_at = now

    def forgive(self) -> None:
        """Nothing is owed any more, because nothing was asked."""
        self.owed_at, self._missing, self.steps = None, None, 0

    def missing(self, what: Missing, now: float) -> None:
        """Something that was promised or asked for has not come."""
        self.owe(now)
        self._missing = what

    def stays_silent(self, now: float) -> None:
        """The model left a turn of the caller unanswered."""
        self.silent_turns += 1
        self.missing("answer", now)

    def nudge(self) -> Missing | None:
        """The missing thing about which the model must be told. It is returned only once."""
        missing, self._missing = self._missing, None
        self.nudges += 1
        return missing

    def was_answered(self) -> None:
        """The model did what it was told to do. Counting begins again."""
        self.nudges = 0

    def bridge(self, item: ItemId) -> None:
        """This phrase of ours asks for patience, so it is not an answer."""
        self._bridges.add(item)

    def heard(self, item: ItemId, now: float) -> bool:
        """Something audible of this item is playing. True if that ends a debt."""
        if item in self._bridges:
            return False
        was_owed = self.is_owed
        self.forgive()
        self.answered_at, self.silent_turns = now, 0
        return was_owed

    def due(self, now: float, *, heard_until: float, spoke_until: float, under_way: bool, function_runs: bool) -> Due:
        """What is due now. Each step is returned once.

        `under_way`: the other rooms say that an answer was asked for or is being generated.
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
