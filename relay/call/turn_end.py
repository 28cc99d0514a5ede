"""Decides how much silence ends the caller's turn. Pure.

A pause inside a turn and the silence after a turn sound alike. There is a small difference: most pauses come soon after
a turn has begun ("I'd like to ..."), and most turns are longer. So the silence after a short beginning must be longer.
It need not be longer if the agent has asked a yes-or-no question or was interrupted ("Hello?"). This was measured with
piper's voice and pauses of 300 to 900 ms between two words of the shipped clips (bench/turns). These pauses are
synthetic, so nobody was thinking in them. 83 of 100 pauses come before SHORT_MS, and so do 25 of 100 ends. The level at
the end of the speech did not help.
"""

from __future__ import annotations

import re

# The same time as before early answers existed, when the server's VAD ended turns.
WAIT_MS = 500
# A turn that is shorter than this may be only a beginning. Its wait is longer.
SHORT_MS = 1_200
BEGINNING_WAIT_MS = 980
# A caller who has paused in this turn will pause again. A shorter wait would help little: the answer comes 500 to 900
# ms after the silence begins (200 ms for the VAD, and 300 to 700 ms for the model).
PAUSED_WAIT_MS = 700

# A yes-or-no question, known by its beginning or by its last word.
_ASKS_YES = re.compile(
    r"(?:^|[.!?,;:]\s+|\b(?:so|and|or|okay)\s+)"
    r"(?:is|are|was|were|do|does|did|shall|should|would|will|can|could|may|have|has)\s[^.!?]*\?\s*$"
    r"|\b(?:right|correct|okay|yes)\?\s*$",
    re.IGNORECASE,
)
# Questions that begin like these, and ask for more than a yes.
_ASKS_MORE = re.compile(r"\banything else\b|\b(?:can|may|could) i (?:help|do)\b|\bor\b[^.!?]*\?\s*$", re.IGNORECASE)


def asks_yes(said: str) -> bool:
    """True if the agent's last words are a yes-or-no question.

    It knows only English. In other languages it returns False, and the wait is longer.
    """
    return bool(_ASKS_YES.search(said)) and not _ASKS_MORE.search(said[-80:])


def wait_ms(spoken_ms: float, pieces: int, *, reads_out: bool, may_be_short: bool) -> int:
    """The silence that ends a turn of this length, in ms. The length includes the turn's pauses.

    `may_be_short`: even a short turn may be complete.
    """
    if reads_out:
        return BEGINNING_WAIT_MS
    if spoken_ms < SHORT_MS and not (pieces == 1 and may_be_short):
        return BEGINNING_WAIT_MS
    return WAIT_MS if pieces == 1 else PAUSED_WAIT_MS
