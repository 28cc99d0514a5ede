"""Whether a call's answers are asked for early. If that costs more than it gives, no more in this call."""

from __future__ import annotations

import re
from dataclasses import dataclass

# An early answer that is taken back costs its input, mostly cached, and what was generated of it. A caller who pauses
# once in every turn is worth that: half of them are taken back, and each turn is answered sooner. If more than two of
# three are taken back, the caller speaks in pieces, and there is little to win. Six are the fewest that can show it.
MOST_TAKEN_BACK = 2 / 3
LEAST_ASKED = 6
# From this share on, money is short: the rest is for answers that are heard.
MOST_OF_MONEY = 0.8
# So much of the account's limit for this minute must be left, because other calls need it.
LEAST_LEFT = 0.1
# Digits and single letters. So many of them are read out, and people who read out pause between groups.
LEAST_READ_OUT = 3
_DIGIT = re.compile(r"\d")
_LETTERS = re.compile(r"(?:(?<![\w'])[^\W\d_](?![\w'])[\s,.-]*){2,}")  # two or more in a row: "I" and "a" are words
_WORD = re.compile(r"[^\W\d_]{2,}")


def reads_out(words: str) -> bool:
    """True for words that are mostly digits or letters, one by one: "555 01 23", "D O E"."""
    letters = sum(len(re.findall(r"\w", row)) for row in _LETTERS.findall(words))
    signs = len(_DIGIT.findall(words)) + letters
    return signs >= LEAST_READ_OUT and signs > len(_WORD.findall(words))


@dataclass(slots=True)
class Governor:
    """The early answers of one call: how many there were, and why there are no more."""

    asked: int = 0
    taken_back: int = 0
    why_off: str = ""  # empty: they are on
    is_told: bool = False  # the operator knows

    def limits_are(self, left: float) -> None:
        """The server reports the share of a limit that is left."""
        if left < LEAST_LEFT:
            self.stop("rate limit")

    def spent(self, usd: float, most_usd: float) -> None:
        """So much of the call's money is spent."""
        if usd >= MOST_OF_MONEY * most_usd:
            self.stop("money")

    def day_is_short(self) -> None:
        """All calls together have spent so much of the day's money (relay/session/day_bill.py)."""
        self.stop("the day's money")

    def was_asked(self) -> None:
        """An early answer was asked for."""
        self.asked += 1

    def was_taken_back(self) -> None:
        """It was taken back, and nobody has heard it."""
        self.taken_back += 1
        if self.asked >= LEAST_ASKED and self.taken_back > MOST_TAKEN_BACK * self.asked:
            self.stop("taken back too often")

    def stop(self, why: str) -> None:
        """No more early answers in this call. The first reason counts."""
        self.why_off = self.why_off or why

    def news(self) -> str:
        """Why there are no more early answers, once."""
        if self.is_told or not self.why_off:
            return ""
        self.is_told = True
        return self.why_off
