"""Decides whether a call asks for early answers (early_answer.py). A call stops when they cost more than they gain."""

from __future__ import annotations

import re
from dataclasses import dataclass

# If more than this share of a call's early answers is taken back, the call asks for no more early answers. An early
# answer that is taken back costs its input tokens (mostly cached) and what was generated. If a caller pauses once in
# every turn, half of the early answers are taken back, but every turn is answered sooner. This is worth the cost. With
# more pauses the caller gains little. The share is judged after LEAST_ASKED early answers.
MOST_TAKEN_BACK = 2 / 3
LEAST_ASKED = 6
# If this share of a call's or a day's money is spent, the call asks for no more early answers. The rest of the money is
# for answers that are heard.
MOST_OF_MONEY = 0.8
# If less than this share of the account's rate limit is left for the minute, the call asks for no more early answers,
# because other calls need what is left.
LEAST_LEFT = 0.1
# If a turn has at least this many digits or single letters, the caller reads something out, with pauses between groups.
LEAST_READ_OUT = 3
_DIGIT = re.compile(r"\d")
# Single letters count if there are two or more in a row, because "I" and "a" are words.
_LETTERS = re.compile(r"(?:(?<![\w'])[^\W\d_](?![\w'])[\s,.-]*){2,}")
_WORD = re.compile(r"[^\W\d_]{2,}")


def reads_out(words: str) -> bool:
    """True if the words are mostly single digits or letters: "555 01 23", "D O E"."""
    letters = sum(len(re.findall(r"\w", row)) for row in _LETTERS.findall(words))
    signs = len(_DIGIT.findall(words)) + letters
    return signs >= LEAST_READ_OUT and signs > len(_WORD.findall(words))


@dataclass(slots=True)
class Governor:
    """Counts the early answers of a call, and knows why no more are asked for. Each stream goes on with its counts."""

    asked: int = 0
    taken_back: int = 0
    why_off: str = ""  # Why the call asks for no more early answers. "" means that it still asks for them.
    is_told: bool = False  # True if `why_off` was written to the log.

    def limits_are(self, left: float) -> None:
        """The server has reported which share of a rate limit is left (0 to 1)."""
        if left < LEAST_LEFT:
            self.stop("rate limit")

    def spent(self, usd: float, most_usd: float) -> None:
        """The call has spent `usd` of at most `most_usd`."""
        if usd >= MOST_OF_MONEY * most_usd:
            self.stop("money")

    def day_is_short(self) -> None:
        """All calls of today have spent most of the day's money (session/day_bill.py)."""
        self.stop("the day's money")

    def was_asked(self) -> None:
        """An early answer was asked for."""
        self.asked += 1

    def was_taken_back(self) -> None:
        """An early answer was taken back. Nobody has heard it."""
        self.taken_back += 1
        if self.asked >= LEAST_ASKED and self.taken_back > MOST_TAKEN_BACK * self.asked:
            self.stop("taken back too often")

    def stop(self, why: str) -> None:
        """Ask for no more early answers in this stream. Only the first reason is kept."""
        self.why_off = self.why_off or why

    def news(self) -> str:
        """Why no more early answers are asked for. "" if they are asked for, or if the reason was returned before."""
        if self.is_told or not self.why_off:
            return ""
        self.is_told = True
        return self.why_off
