"""Cuts the model's text into clauses for a voice service: deltas in, clauses out, with their places in the text. Pure.

The first clause of an item is sent early, because the caller hears nothing before it. The first clause ends at the
first comma, or before a word that begins a phrase. Later clauses are whole sentences if these are not too long: earlier
sound is still being played, and a voice speaks a whole sentence better. Each clause is flushed, because below about 40
characters the service would wait for more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.voices.spoken_words import joint, tokens

# The least characters of a clause. The first clause ends at a comma ("I'm sorry,"), or before a phrase ("Your table for
# two is booked | for tomorrow"). 40 characters of a later clause last 2.4 s, so the next one comes in time.
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
    """A piece of text as it is sent to the service. It ends with a space.

    `places`: pairs (a number of its characters without blanks, the place in the model's text up to which they go).
    """

    text: str
    places: tuple[tuple[int, int], ...]

    @property
    def sounds(self) -> int:
        """The number of its characters without blanks."""
        return self.places[-1][0]


class TextForSpeech:
    """One item's text."""

    def __init__(self) -> None:
        self._waiting = ""  # The text that is not in a clause yet.
        self._given = 0  # The number of characters before that text.
        self._is_first = True

    @property
    def is_waiting(self) -> bool:
        """True if there is text that is not in a clause yet."""
        return bool(self._waiting.strip())

    def feed(self, delta: str) -> list[Clause]:
        """The clauses that are complete with this delta."""
        self._waiting += delta
        return self._give(is_end=False)

    def end(self) -> list[Clause]:
        """The clauses of the rest. No more text comes."""
        return self._give(is_end=True)

    def press(self) -> list[Clause]:
        """The text so far up to the last whole phrase, because otherwise the caller would hear a pause."""
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
    """How many characters the next clause has. None if this is not known yet."""
    whole = len(text) if is_end and text else None
    sentence, comma = (1, FIRST_COMMA) if is_first else (LATER_SENTENCE, LATER_COMMA)
    ends = [_first(_SENTENCE, text, sentence), _first(_COMMA, text, comma)]
    if is_first:
        ends.append(_first(_PHRASE, text, FIRST_PHRASE))
    if len(text) > LONGEST:
        ends.append(_first(_BLANK, text, LONGEST))
    size = min((end for end in ends if end is not None), default=None)
    # If the last sentence is short, it goes together with the rest of the item.
    if whole is not None and (size is None or (not is_first and whole <= LATER_COMMA)):
        return whole
    return size


def _first(pattern: re.Pattern[str], text: str, at_least: int) -> int | None:
    """The first match of the pattern after `at_least` characters, if text of the next clause follows it."""
    for match in pattern.finditer(text):
        before, after = text[: match.end()], text[match.end() :].lstrip()
        if not after or len(before.strip()) < at_least:
            continue
        if pattern is _SENTENCE and match.group() != "\n" and (_NOT_THE_END.search(before) or after[0].islower()):
            continue
        if pattern is _COMMA and before[:-1][-1:].isdigit() and after[0].isdigit():
            continue  # A comma in a date: November 29, 2026.
        if not _OPEN_LINK.search(before):
            return match.end()
    return None


def _clause(text: str, given: int) -> Clause | None:
    """The clause for a text. None if nothing of it is spoken.

    `given`: the number of the item's characters before it.
    """
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
