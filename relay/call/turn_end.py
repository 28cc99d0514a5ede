"""Decides how much silence ends the caller's turn. This time is called the wait.

A pause inside a turn sounds like the silence after a turn. But most pauses come soon after the turn has begun ("I'd
like to ..."), and most turns are longer than that. So a turn is a "beginning" while it is shorter than most turns of
this caller, and the wait is then longer. Some callers tell whole stories, others say two words. So a call begins with
usual lengths (USUAL_MS), and adds the lengths of the caller's own turns.

If the model's answer comes late, the wait is longer too. Such an answer is slower than the median answer anyway, and
the longer wait protects a caller who pauses.

The waits were measured with the shipped clips in piper's voice. Pauses of 300 to 900 ms were put between two words
(docs/early-answers.md has the curves). Real callers may pause in other ways. The level at the end of the speech is not
used, because these clips cannot show whether it helps: the voice of a person who pauses fades, but a clip that is cut
between two words does not. The agent's question helps only if it asks for a number or for letters. A short wait after a
yes-or-no question did more harm than good: it cut off callers who say "Yes ... half past seven is fine".
"""

from __future__ import annotations

import re
from bisect import insort

# The usual wait. It is the shortest one that keeps pauses of 700 ms inside the turn. A shorter wait would gain little:
# the early answer itself comes only 470 to 870 ms after the silence begins (170 ms of the VAD, and 300 to 700 ms of the
# model).
WAIT_MS = 740
# The wait in a beginning. With ANSWER_EARLY=off, answers are heard 800 to 1,200 ms after the silence begins, and half
# of them within this time. So a typical caller does not wait longer than without early answers. Pauses of 900 ms stay
# inside the turn.
BEGINNING_WAIT_MS = 1_000
# An early answer that comes later than this after the silence has begun is late. The caller hears it after
# BEGINNING_WAIT_MS. With ANSWER_EARLY=off, the model would be asked 330 ms later, so the same answer would come after
# 1,150 ms or more.
ON_TIME_MS = 820
# The longest wait if the early answer calls a function. The function needs time too, and nobody may wait for it in
# silence for more than 0.9 s. With ANSWER_EARLY=off a function runs after 800 ms at the earliest.
FUNCTION_WAIT_MS = 800
# The wait if no early answer may be asked for. It is the same as with ANSWER_EARLY=off.
LATE_WAIT_MS = 500
# The wait if no early answer may be asked for, and the caller reads out a number or letters in groups.
READING_WAIT_MS = 700
# A turn is a beginning while it is shorter than a limit. This share of the caller's turns is shorter than the limit.
# With a larger share, the median answer is less than 250 ms sooner than with ANSWER_EARLY=off. With a smaller share,
# more callers are cut off than with ANSWER_EARLY=off.
BEGINNINGS = 0.32
# The lengths with which a call begins, in ms: one word, and some of the shipped clips. The list is short, so that the
# caller's own turns soon count more.
USUAL_MS = (450, 1_400, 1_600, 2_300, 3_000)
# If the caller speaks again within this time after the end of a turn, that turn had perhaps not ended.
GOES_ON_MS = 1_000

# The agent asks for something that callers read out in groups.
_ASKS_SIGNS = re.compile(
    r"\b(?:phone|telephone|mobile|cell|card|account|order|reference|booking|confirmation|customer|room)\s+number\b"
    r"|\bwhat(?:'s|\s+is)\s+(?:your|the)\s+(?:number|code)\b|\bspell\b|\be-?mail\b|\bpost\s?code\b|\bzip\s+code\b",
    re.IGNORECASE,
)
# The agent reads a number out itself and asks whether it is right: "Is your phone number 555 0123?"
_ASKS_YES = re.compile(r"(?:(?:so|and|okay|or)\b,?\s*)?(?:is|was|are|do|does|did|has|have)\b", re.IGNORECASE)


def asks_signs(said: str) -> bool:
    """True if the agent's last sentence asks for a number, or for letters one by one.

    This function knows English only. In other languages, `reads_out` (early_governor.py) recognises the caller's first
    group of digits or letters.
    """
    question = re.split(r"[.!?]\s+", said.strip())[-1]
    return bool(_ASKS_SIGNS.search(question)) and not _ASKS_YES.match(question)


class TurnLengths:
    """The lengths of one caller's turns, from the first sound to the last."""

    def __init__(self) -> None:
        self._known_ms: list[float] = sorted(USUAL_MS)
        self._newest_ms = 0.0

    def ended(self, spoken_ms: float) -> None:
        """A turn of this length has ended."""
        insort(self._known_ms, spoken_ms)
        self._newest_ms = spoken_ms

    def was_none(self) -> None:
        """The newest turn had perhaps not ended, so its length is forgotten."""
        if self._newest_ms in self._known_ms:
            self._known_ms.remove(self._newest_ms)
        self._newest_ms = 0.0

    def wait_ms(self, spoken_ms: float) -> int:
        """How much silence ends the present turn. `spoken_ms` is its length so far, with its pauses."""
        is_beginning = spoken_ms < self._known_ms[int(BEGINNINGS * len(self._known_ms))]
        return BEGINNING_WAIT_MS if is_beginning else WAIT_MS
