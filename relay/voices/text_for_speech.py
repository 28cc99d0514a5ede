"""The model's text on its way to a voice service: deltas in, clauses out, each with its places in the text. Pure.

The first clause of an item goes early, because the caller hears nothing before it: at the first comma, or before a word
that begins a phrase. Later clauses are whole sentences, unless these are long: what was sent plays meanwhile, and a
voice that knows more of a sentence speaks it better. Each clause is flushed. Below about 40 characters the service
would wait for more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.voices.spoken_words import joint, tokens

# From so many characters on, a clause may end. The first: at a comma ("I'm sorry,"), or before a phrase ("Your table
# for two is booked | for tomorrow"). Later ones: 40 characters last 2.4 s, so the next ones come in time.
FIRST_COMMA, FIRST_PHRASE = 8, 20
LATER_SENTENCE, LATER_COMMA = 40, 90
LONGEST = 240

_SENTENCE = re.compile(r"[.!?…]+[\"')\]*_”’]*(?=\s)|\n")
_COMMA = re.compile(r"[,;:][\"')\]*_”’]*(?=\s)|\s[—–-]+(?=\s)")
_PHRASE = re.compile(
    r"\s(?=(?:and|or|but|for|at|in|on|from|until|to|with|that|which|because|if|when|so|is|are|as|about|after|before)\s)"
)
_BLANK = re.compile(r"\s")
_NOT_THE_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Ave|Rd|Jr|Sr|No|vs|etc|approx|e\.g|i\.e|[A-Z])\.|(?:^|\n)\s*\d{1,3}\.)$"
)
_OPEN_LINK = re.compile(r"\[[^\]]*$|\]\([^)]*$")


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece to be spoken, as it is sent: it ends with a space.

    `places`: after so many of its characters that are not blanks, the text was spoken up to there.
    """

    text: str
    places: tuple[tuple[int, int], ...]

    @property
    def sounds(self) -> int:
        """Its characters that are not blanks."""
        return self.places[-1][0]


class TextForSpeech:
    """One item's text."""

    def __init__(self) -> None:
        self._waiting = ""  # not given out yet
        self._given = 0  # characters before it
        self._is_first = True

    @property
    def is_waiting(self) -> bool:
        """True while there is text that was not given out."""
        return bool(self._waiting.strip())

    def feed(self, delta: str) -> list[Clause]:
        """The clauses that are complete with this piece of the text."""
        self._waiting += delta
        return self._give(is_end=False)

    def end(self) -> list[Clause]:
        """The rest: no more text comes."""
        return self._give(is_end=True)

    def press(self) -> list[Clause]:
        """What is there, up to the last whole phrase: the caller hears nothing meanwhile."""
        self._is_first = True
        return self._give(is_end=False)

    def _give(self, *, is_end: bool) -> list[Clause]:
        clauses = []
        while (size := _size(self._waiting, is_first=self._is_first, is_end=is_end)) is not None:
            text, self._waiting = self._waiting[:size], self._waiting[size:]
            clause = _clause(text, self._given)
            self._given += size
            if clause is not None:
                self._is_first = False
                clauses.append(clause)
        return clauses


def _size(text: str, *, is_first: bool, is_end: bool) -> int | None:
    """How many characters the next clause has; None while that is not known."""
    whole = len(text) if is_end and text else None
    sentence, comma = (1, FIRST_COMMA) if is_first else (LATER_SENTENCE, LATER_COMMA)
    ends = [_first(_SENTENCE, text, sentence), _first(_COMMA, text, comma)]
    if is_first:
        ends.append(_first(_PHRASE, text, FIRST_PHRASE))
    if len(text) > LONGEST:
        ends.append(_first(_BLANK, text, LONGEST))
    size = min((end for end in ends if end is not None), default=None)
    # If the last word of a sentence is not long, it goes together with the rest of the item.
    if whole is not None and (size is None or (not is_first and whole <= LATER_COMMA)):
        return whole
    return size


def _first(pattern: re.Pattern[str], text: str, at_least: int) -> int | None:
    """The first end of a clause by this pattern after so many characters, if the next clause has begun."""
    for match in pattern.finditer(text):
        before, after = text[: match.end()], text[match.end() :].lstrip()
        if not after or len(before.strip()) < at_least:
            continue
        if pattern is _SENTENCE and match.group() != "\n" and (_NOT_THE_END.search(before) or after[0].islower()):
            continue
        if pattern is _COMMA and before[:-1][-1:].isdigit() and after[0].isdigit():
            continue  # November 29, 2026
        if not _OPEN_LINK.search(before):
            return match.end()
    return None


def _clause(text: str, given: int) -> Clause | None:
    """The piece as it is spoken; None if nothing of it is. `given`: characters of the item before it."""
    spoken, places, sounds = "", [], 0
    for token in tokens(text):
        spoken += joint(spoken, token) + token.spoken
        now = sounds + sum(not c.isspace() for c in token.spoken)
        if now > sounds:
            sounds = now
            places.append((sounds, given + token.end))
    if not any(c.isalnum() for c in spoken):
        return None
    places[-1] = (sounds, given + len(text))
    return Clause(spoken.strip() + " ", tuple(places))
