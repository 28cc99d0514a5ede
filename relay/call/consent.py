"""Decides whether the words of a call may be stored. All code that stores words asks this file.

No words are stored with RECORD=off, or after the caller has refused. If the caller must hear a notice, no words are
stored before the caller has heard it. Two things are always stored: facts without words (what happened, when, and what
it cost), and what the caller asks the relay to store (a message, the notes of a booking).

The files of call/ change the state of `Consent`. Code that stores words reads `Consent.words` first. consent_law.py
decides who must hear the notice.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from relay.call.actions import RecordTurn


class Words(enum.Enum):
    """What happens now with the words of the caller and of the agent."""

    KEPT = "kept"  # They are stored.
    WAITING = "waiting"  # They wait in memory. They are stored when the caller has heard the notice.
    NEVER = "never"  # They are not stored.


@dataclass(slots=True)
class Consent:
    """The consent of one call, and the transcript rows that wait for it.

    `keeps`: False with RECORD=off. `announces`: True if this caller must hear the notice first.
    """

    keeps: bool = True
    announces: bool = False
    heard: bool = False  # True after the notice was heard.
    refused: bool = False  # True after the caller has refused to have words stored.
    given_up: bool = False  # True after it was known that the caller will not hear the notice in this stream.
    words: Words = field(init=False)
    _waiting: list[RecordTurn] = field(default_factory=list)  # Rows with words that wait until the notice was heard.

    @property
    def is_given(self) -> bool:
        """True if the notice was heard, or if this caller need not hear it."""
        return self.heard or not self.announces

    def __post_init__(self) -> None:
        self._decide()

    def _decide(self) -> None:
        """Set `words` again, after one of the other fields has changed."""
        if not self.keeps or self.refused:
            self.words = Words.NEVER
        elif self.is_given:
            self.words = Words.KEPT
        else:
            self.words = Words.NEVER if self.given_up else Words.WAITING

    @property
    def may_keep(self) -> bool:
        """True if words may be stored now."""
        return self.words is Words.KEPT

    def record(self, row: RecordTurn) -> list[RecordTurn]:
        """Returns the rows that may be written now: this row, no row yet, or this row without its words."""
        match self.words:
            case Words.KEPT:
                return [row]
            case Words.WAITING:
                self._waiting.append(row)
                return []
            case Words.NEVER:
                return [_without_words(row)]

    def was_heard(self) -> list[RecordTurn]:
        """The caller has heard the notice. Returns the rows that waited for it."""
        self.heard = True
        self._decide()
        return self._let_go()

    def refuse(self) -> list[RecordTurn]:
        """The caller does not want their words stored. Returns the rows that waited, without their words."""
        self.refused = True
        self._decide()
        return [_without_words(row) for row in self._let_go()]

    def give_up(self) -> list[RecordTurn]:
        """The caller will not hear the notice in this stream. Returns the rows that waited, without their words."""
        self.given_up = True
        self._decide()
        return [_without_words(row) for row in self._let_go()]

    def _let_go(self) -> list[RecordTurn]:
        waiting, self._waiting = self._waiting, []
        return waiting


def _without_words(row: RecordTurn) -> RecordTurn:
    return replace(row, said=None, heard=None)
