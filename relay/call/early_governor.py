"""Decides whether a call's answers are asked for early. If that costs more than it gains, it ends for this call."""

from __future__ import annotations

import re
from dataclasses import dataclass

# An early answer that is taken back costs its input (mostly cached) and its generated part. For a caller who pauses
# once in every turn, the gain is worth this cost: half of the early answers are taken back, and each turn is answered
# sooner. If more than two of three are taken back, the caller speaks in pieces, and there is little to win. At least
# six early answers are needed to show this.
MOST_TAKEN_BACK = 2 / 3
LEAST_ASKED = 6
# From this share of the call's money on, the rest is kept for answers that are heard.
MOST_OF_MONEY = 0.8
# This share of the account's limit for the minute must be left, because other calls need it.
LEAST_LEFT = 0.1
# This many digits or single letters in a turn mean that the caller reads something out, with pauses between groups.
LEAST_READ_OUT = 3
_DIGIT = re.compile(r"\d")
# Two or more in a row, because "I" and "a" are words.
_LETTERS = re.compile(r"(?:(?<![\w'])[^\W\d_](?![\w'])[\s,.-]*){2,}")
_WORD = re.compile(r"[^\W\d_]{2,}")


def reads_out(words: str) -> bool:
    """True for words that are mostly single digits or letters: "555 01 23", "D O E"."""
    letters = sum(len(re.findall(r"\w", row)) for row in _LETTERS.findall(words))
    signs = len(_DIGIT.findall(words)) + letters
    return signs >= LEAST_READ_OUT and signs > len(_WORD.findall(words))


@dataclass(slots=True)
class Governor:
    """The early answers of one call: how many there were, and why there will be no more."""

    asked: int = 0
    taken_back: int = 0
    why_off: str = ""  # Why early answers are off. Empty: they are on.
    is_told: bool = False  # True if the operator was told.

    def limits_are(self, left: float) -> None:
        """The server reports the share of a limit that is left."""
        if left < LEAST_LEFT:
            self.stop("rate limit")

    def spent(self, usd: float, most_usd: float) -> None:
        """`usd` of the call's `most_usd` are spent."""
        if usd >= MOST_OF_MONEY * most_usd:
            self.stop("money")

    def day_is_short(self) -> None:
        """All calls together have spent most of the day's money (relay/session/day_bill.py)."""
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
        """From now on there are no early answers in this call. The first reason is kept."""
        self.why_off = self.why_off or why

    def news(self) -> str:
        """Why there are no more early answers. The reason is told only once."""
        if self.is_told or not self.why_off:
            return ""
        self.is_told = True
        return self.why_off
