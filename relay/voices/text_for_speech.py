"""Cuts the model's text into clauses for a voice service, and notes the places of each clause in the text.

The first clause of an item should be sent early, because the caller hears nothing before it. So it ends at the first
comma, before a word that begins a phrase, or at the end of the sentence. Later clauses end at the end of a sentence, or
at a comma if the sentence is long. For these clauses there is time, because earlier sound still plays, and a voice
speaks a whole sentence better. Each clause is sent with `flush`. Without it, the service would wait for more text after
a clause of fewer than about 40 characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.voices.spoken_words import joint, tokens

# The smallest number of characters before the end of a clause, by the kind of end. The first clause ends at a comma
# ("I'm sorry,") or before a phrase ("Your table for two is booked | for tomorrow"). 40 characters of a later clause
# take 2.4 s to speak, so the next clause comes in time.
FIRST_COMMA, FIRST_PHRASE = 8, 20
LATER_SENTENCE, LATER_COMMA = 40, 90
LONGEST = 240  # A clause that has no other end is cut at the first blank after this many characters.

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
    """A piece of text for the service. It ends with a space.

    `places`: pairs of numbers. When the first number of characters (without blanks) has been spoken, the model's text
    has been spoken up to the second number.
    """

    text: str
    places: tuple[tuple[int, int], ...]

    @property
    def sounds(self) -> int:
        """How many characters the clause has, without blanks."""
        return self.places[-1][0]


class TextForSpeech:
    """Cuts the text of one item."""

    def __init__(self) -> None:
        self._waiting = ""  # Text that is in no clause yet.
        self._given = 0  # How many characters of the item came before `_waiting`.
        self._is_first = True

    @property
    def is_waiting(self) -> bool:
        """True if there is text that is in no clause yet."""
        return bool(self._waiting.strip())

    def feed(self, delta: str) -> list[Clause]:
        """Add a delta. Returns the clauses that are now complete."""
        self._waiting += delta
        return self._give(is_end=False)

    def end(self) -> list[Clause]:
        """The text is complete. Returns the last clauses."""
        return self._give(is_end=True)

    def press(self) -> list[Clause]:
        """Let the next clause end early, like a first clause. Returns the clauses that are now complete.

        Without this, the caller would hear a pause.
        """
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
    """How long the next clause is. None if this is not clear yet."""
    whole = len(text) if is_end and text else None
    sentence, comma = (1, FIRST_COMMA) if is_first else (LATER_SENTENCE, LATER_COMMA)
    ends = [_first(_SENTENCE, text, sentence), _first(_COMMA, text, comma)]
    if is_first:
        ends.append(_first(_PHRASE, text, FIRST_PHRASE))
    if len(text) > LONGEST:
        ends.append(_first(_BLANK, text, LONGEST))
    size = min((end for end in ends if end is not None), default=None)
    # At the end of an item, a later text of at most LATER_COMMA characters is one clause, even if it has several
    # sentences.
    if whole is not None and (size is None or (not is_first and whole <= LATER_COMMA)):
        return whole
    return size


def _first(pattern: re.Pattern[str], text: str, at_least: int) -> int | None:
    """The end of the first match of this pattern that is at least `at_least` characters from the beginning.

    A match after an abbreviation, in a date or in a link does not count. None if there is no such match, or if no text
    follows the match.
    """
    for match in pattern.finditer(text):
        before, after = text[: match.end()], text[match.end() :].lstrip()
        if not after or len(before.strip()) < at_least:
            continue
        if pattern is _SENTENCE and match.group() != "\n" and (_NOT_THE_END.search(before) or after[0].islower()):
            continue
        if pattern is _COMMA and before[:-1][-1:].isdigit() and after[0].isdigit():
            continue  # This is a comma in a date: November 29, 2026.
        if not _OPEN_LINK.search(before):
            return match.end()
    return None


def _clause(text: str, given: int) -> Clause | None:
    """Make the clause for a text. None if nothing of the text is spoken.

    `given`: how many characters of the item come before the text.
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
