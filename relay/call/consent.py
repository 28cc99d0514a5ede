"""Whether the words of a call may be kept. All code that writes words asks this one rule. Pure.

With RECORD=off no word is kept. If this caller must hear a notice, no word is kept before it was heard. After the
caller has refused, no word is kept. Two kinds of facts are always kept. The first kind tells that something happened,
when it happened, and what it cost. The second kind is what the caller asks the relay to keep (a message, the notes of a
booking).

The machine writes this state. Code that is about to write words down reads `words`. consent_law.py decides who must
hear a notice by law.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from relay.call.actions import RecordTurn


class Words(enum.Enum):
    """What happens with words at this moment."""

    KEPT = "kept"
    WAITING = "waiting"  # The words wait until the notice was heard. After that, they are kept.
    NEVER = "never"


@dataclass(slots=True)
class Consent:
    """One call's consent, and the rows of its transcript that wait for it.

    `keeps`: False with RECORD=off. `announces`: this caller must hear the notice first.
    """

    keeps: bool = True
    announces: bool = False
    heard: bool = False  # True when the notice was heard.
    refused: bool = False  # True when the caller has refused, in words.
    words: Words = field(init=False)  # What happens with words now.
    _waiting: list[RecordTurn] = field(default_factory=list)  # Rows with words that wait for the notice.

    @property
    def is_given(self) -> bool:
        """True once the notice was heard, if this caller must hear one."""
        return self.heard or not self.announces

    def __post_init__(self) -> None:
        self._decide()

    def _decide(self) -> None:
        """What happens with words from now on."""
        if not self.keeps or self.refused:
            self.words = Words.NEVER
        else:
            self.words = Words.KEPT if self.is_given else Words.WAITING

    @property
    def may_keep(self) -> bool:
        """True if words may be written down now."""
        return self.words is Words.KEPT

    def record(self, row: RecordTurn) -> list[RecordTurn]:
        """Returns what may be written of this row now: the row, nothing yet, or the row without its words."""
        match self.words:
            case Words.KEPT:
                return [row]
            case Words.WAITING:
                self._waiting.append(row)
                return []
            case Words.NEVER:
                return [replace(row, said=None, heard=None)]

    def was_heard(self) -> list[RecordTurn]:
        """The caller has heard the notice. Returns the rows that waited for the notice."""
        self.heard = True
        self._decide()
        return self._let_go()

    def refuse(self) -> list[RecordTurn]:
        """The caller does not want their words kept. Returns the rows that waited, without words."""
        self.refused = True
        self._decide()
        return [replace(row, said=None, heard=None) for row in self._let_go()]

    def forget_what_waits(self) -> None:
        """The call is over, and the notice was never heard. Drops the rows that waited."""
        self._waiting = []

    def _let_go(self) -> list[RecordTurn]:
        waiting, self._waiting = self._waiting, []
        return waiting
