"""Dead air: how long a caller who waits for us has heard nothing, measured at playout, and what is due against it.

The other rooms each know why the agent may be silent: an answer is under way, a session is being opened, a move waits
for its moment. Any of them may be wrong. This room believes none of them: it knows when something that can be heard was
last playing, when the caller last spoke, and that the caller is owed an answer. A debt begins with any wish for an
answer and ends when something that answers is heard, whatever becomes of the wish in between. Our own phrases that ask
for patience end no debt.

After LIMIT_S of dead air the caller hears a phrase, and what is owed is asked for if nothing is under way; after as
much again another session is opened; after the third time a person takes the call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from relay.call.vocabulary import ItemId

# What has not come: what the agent said that it would do, or an answer to a turn that it chose to leave unanswered.
Missing = Literal["promise", "answer"]

# Nobody is to hear nothing for 6 s. The watchdog looks five times a second, and a clip begins with a quiet tenth. The
# slowest first audio of a healthy model was 4.7 s behind the request, which follows the caller's last sound by 0.5 s.
LIMIT_S = 5.3
# A debt that begins so much later than the last sound is none of the caller's turn: a key, or a function's answer. The
# silence before it was nobody's fault.
UNRELATED_S = 3.5
# The agent has said that it looks something up, and does not: it is asked to after a breath or two. A turn that the
# model chose to leave unanswered may have been for somebody else.
NUDGE_AFTER_S: dict[Missing, float] = {"promise": 2.0, "answer": 4.0}
# So often the model is told what is missing, then a person is the better answer.
NUDGES = 2

Due = Literal["nothing", "nudge", "phrase", "session", "human"]
_DUE_IN_TURN: tuple[Due, ...] = ("phrase", "session", "human")


@dataclass(slots=True)
class Liveness:
    """What the caller of one stream is owed, and since when they hear nothing."""

    steps: int = 0  # how often something was due since the caller was last answered
    silent_turns: int = 0  # in a row: turns of the caller that the model did not want to answer
    answered_at: float = 0.0  # when a debt was last paid
    owed_at: float | None = None
    nudges: int = 0  # how often the model was told what is missing, since it last gave an answer that is one
    _missing: Missing | None = None
    _bridges: set[ItemId] = field(default_factory=set)  # our phrases that ask for patience

    @property
    def is_owed(self) -> bool:
        """True while the caller is owed something that was not heard yet."""
        return self.owed_at is not None

    def owe(self, now: float) -> None:
        """An answer is wished for."""
        if self.owed_at is None:
            self.owed_at = now

    def forgive(self) -> None:
        """Nothing is owed any more: it turned out that nothing was asked."""
        self.owed_at, self._missing, self.steps = None, None, 0

    def missing(self, what: Missing, now: float) -> None:
        """What the caller was promised, or asked for, has not come."""
        self.owe(now)
        self._missing = what

    def stays_silent(self, now: float) -> None:
        """The model chose not to answer a turn of the caller's."""
        self.silent_turns += 1
        self.missing("answer", now)

    def nudge(self) -> Missing | None:
        """What the model is to be told of, once."""
        missing, self._missing = self._missing, None
        self.nudges += 1
        return missing

    def was_answered(self) -> None:
        """The model said what it was told of: the next time is a first one."""
        self.nudges = 0

    def bridge(self, item: ItemId) -> None:
        """These words of ours ask for patience: they are no answer."""
        self._bridges.add(item)

    def heard(self, item: ItemId, now: float) -> bool:
        """Something audible of this item is played. True if that pays a debt."""
        if item in self._bridges:
            return False
        was_owed = self.is_owed
        self.forgive()
        self.answered_at, self.silent_turns = now, 0
        return was_owed

    def due(self, now: float, *, heard_until: float, spoke_until: float, under_way: bool, function_runs: bool) -> Due:
        """What is due now, once. `under_way`: an answer is asked for, or being generated, as far as anybody knows.

        `heard_until`: the end of what the caller heard of us; `spoke_until`: of what we heard of the caller. A function
        ends by its own deadline: while one runs, a phrase is all that is due.
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
