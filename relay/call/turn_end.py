"""Decides how much silence ends the caller's turn. Pure.

A pause inside a turn and the silence after a turn sound alike. There is one difference that helps: most pauses come
soon after a turn has begun ("I'd like to ..."), and most turns are longer. So the silence after a beginning must be
longer. Speech counts as a beginning while it is shorter than most of this caller's turns: some callers tell whole
stories, others say two words. A call begins with the lengths of the shipped clips (USUAL_MS), and learns.

This was measured with piper's voice and with pauses of 300 to 900 ms, put between two words of the shipped clips
(docs/early-answers.md has the curves). These pauses are synthetic: no speaker was thinking in them. The level at the
end of the speech did not help. What the agent has asked for makes a difference only for numbers and letters: a short
wait after a yes-or-no question cut off more callers ("Yes ... half past seven is fine") than it helped.
"""

from __future__ import annotations

import re
from bisect import insort

# The shortest wait that leaves pauses of 700 ms alone. A shorter one would help little: an answer comes 460 to 860 ms
# after the silence begins (160 ms of the VAD, and 300 to 700 ms of the model).
WAIT_MS = 720
# With ANSWER_EARLY=off an answer is heard 800 to 1,200 ms after the silence begins. Half of these answers are heard
# before this time. So nobody waits longer than without early answers, and pauses of 900 ms are left alone.
BEGINNING_WAIT_MS = 1_000
# Without an early answer: the answer is asked for after this silence, as with ANSWER_EARLY=off.
LATE_WAIT_MS = 500
# The same, while a caller reads out a number or letters, one group after the other.
READING_WAIT_MS = 700
# This share of the caller's turns is shorter than a "beginning". With a larger share, half of the callers would not
# notice that answers are early; with a smaller share, more callers are cut off.
BEGINNINGS = 1 / 3
# The wait after a turn that is shorter than all turns of this caller: about one turn in thirty. This wait is longer
# than nearly all pauses.
SHORTEST_WAIT_MS = 1_100
# The shipped clips, with and without pauses inside, in ms. The clips count twice, because a caller's first turns say
# little.
USUAL_MS = 2 * (600, 800, 1_200, 1_600, 2_000, 2_300, 2_600, 3_000)
# A caller who speaks again within this time after the end of a turn had perhaps not ended that turn.
GOES_ON_MS = 1_000

# A question for something that is read out in groups.
_ASKS_SIGNS = re.compile(
    r"\b(?:phone|telephone|mobile|cell|card|account|order|reference|booking|confirmation|customer|room)\s+number\b"
    r"|\bwhat(?:'s|\s+is)\s+(?:your|the)\s+(?:number|code)\b|\bspell\b|\be-?mail\b|\bpost\s?code\b|\bzip\s+code\b",
    re.IGNORECASE,
)
# "Is your phone number 555 0123?"
_ASKS_YES = re.compile(r"(?:(?:so|and|okay|or)\b,?\s*)?(?:is|was|are|do|does|did|has|have)\b", re.IGNORECASE)


def asks_signs(said: str) -> bool:
    """True if the agent's last words ask for a number, or for letters one by one.

    English; for other languages False, until the words of the first group are known.
    """
    question = re.split(r"[.!?]\s+", said.strip())[-1]
    return bool(_ASKS_SIGNS.search(question)) and not _ASKS_YES.match(question)


class TurnLengths:
    """How long the turns of one caller are, from the first sound to the last."""

    def __init__(self) -> None:
        self._known_ms: list[float] = sorted(USUAL_MS)
        self._newest_ms = 0.0

    def ended(self, spoken_ms: float) -> None:
        """A turn of this length has ended."""
        insort(self._known_ms, spoken_ms)
        self._newest_ms = spoken_ms

    def was_none(self) -> None:
        """The newest turn had perhaps not ended: its length says nothing."""
        if self._newest_ms in self._known_ms:
            self._known_ms.remove(self._newest_ms)
        self._newest_ms = 0.0

    def wait_ms(self, spoken_ms: float) -> int:
        """The silence that ends the present turn. The turn has lasted for this long, pauses included."""
        if spoken_ms < self._known_ms[0]:
            return SHORTEST_WAIT_MS
        is_beginning = spoken_ms < self._known_ms[int(BEGINNINGS * len(self._known_ms))]
        return BEGINNING_WAIT_MS if is_beginning else WAIT_MS
