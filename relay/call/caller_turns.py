"""Remembers, for each turn of the caller, when it began, whether its words are awaited, and what followed from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.call.conversation import Turn
from relay.call.vocabulary import CallerTranscribed, ItemId


@dataclass(slots=True)
class CallerTurn:
    """One turn of the caller, or one piece: a part of a turn that the VAD has made an item. Times: Trio clock."""

    began_at: float | None = None  # When the VAD reported the beginning. None if it did not, or after `take_began_at`.
    # When both sides became silent before this turn. None if the VAD did not report the beginning.
    silent_since: float | None = None
    words_until: float = 0.0  # Until this time the call waits for the turn's words.
    spoken: Turn | None = None  # The turn in the conversation. None until it is an item.
    early: CallerTranscribed | None = None  # The turn's words, if they came before the turn was an item.
    is_answered: bool = False  # True if a response that was asked for before the words came answers this turn, too.
    has_interrupted: bool = False  # True if an answer was given up for this turn.
    is_misunderstood: bool = False  # True if the agent or the caller did not understand this turn.


@dataclass(slots=True)
class CallerTurns:
    """All turns of the caller during one stream."""

    _turns: dict[ItemId, CallerTurn] = field(default_factory=dict)
    awaited: dict[ItemId, CallerTurn] = field(default_factory=dict)  # The turns whose words are not known yet.
    # The turns after which the agent asked the caller to repeat something. These turns may have been noises.
    asked_again: set[ItemId] = field(default_factory=set)

    def _turn(self, item_id: ItemId) -> CallerTurn:
        return self._turns.setdefault(item_id, CallerTurn())

    # The beginning and the words of turns

    def begin(self, item_id: ItemId, now: float, silent_since: float) -> None:
        """The VAD heard this turn begin."""
        turn = self._turn(item_id)
        if turn.began_at is None:
            turn.began_at = now
        if turn.silent_since is None:
            turn.silent_since = silent_since

    def began_at(self, item_id: ItemId) -> float | None:
        """When the VAD reported the turn's beginning. None if it did not."""
        return self._turn(item_id).began_at

    def take_began_at(self, item_id: ItemId) -> float | None:
        """Like `began_at`, but then forgets the time. Called when the turn is placed in the conversation."""
        turn = self._turn(item_id)
        began_at, turn.began_at = turn.began_at, None
        return began_at

    def became_item(
        self, item_id: ItemId, spoken: Turn, words_until: float
    ) -> tuple[float | None, CallerTranscribed | None]:
        """The turn is an item now. Returns when the turn began, and its words if they have come already."""
        turn = self.awaited[item_id] = self._turn(item_id)
        turn.spoken, turn.words_until = spoken, words_until
        early, turn.early = turn.early, None
        return self.take_began_at(item_id), early

    def words_came(self, event: CallerTranscribed) -> CallerTurn | None:
        """The words of a turn have come. Returns the turn.

        Returns None if these words were not awaited: they came twice, or before the item, or belong to another session.
        Words that come before the item are stored until the item comes, if the VAD has reported the turn's beginning.
        """
        turn = self.awaited.pop(event.item_id, None)
        if turn is None and (early := self._turns.get(event.item_id)) is not None and early.began_at is not None:
            early.early = event
        return turn

    def awaits_words(self, now: float) -> bool:
        """True while the words of a turn are awaited. Words that come after `words_until` still count."""
        return any(now < turn.words_until for turn in self.awaited.values())

    def forget_words(self) -> None:
        """The session has ended, so the missing words will not come."""
        self.awaited.clear()
        for turn in self._turns.values():
            turn.early = None

    # The effects of turns

    def were_asked_about(self) -> None:
        """A response was asked for. It also answers the turns whose words are not known yet."""
        for turn in self.awaited.values():
            turn.is_answered = True

    def answer_was_given_up(self, by: ItemId | None = None) -> None:
        """The answer was given up, so no turn is answered by it.

        `by`: the caller's turn that interrupted the answer, if there is one.
        """
        for turn in self._turns.values():
            turn.is_answered = False
        if by is not None:
            self._turn(by).has_interrupted = True

    def is_answered(self, item_id: ItemId) -> bool:
        """True if a response that was asked for before the turn's words came answers this turn, too."""
        return self._turn(item_id).is_answered

    def was_misunderstood(self, item_id: ItemId) -> bool:
        """Note that the agent or the caller did not understand this turn. Returns False if this was noted before."""
        turn = self._turn(item_id)
        is_new, turn.is_misunderstood = not turn.is_misunderstood, True
        return is_new

    def was_not_misunderstood(self, item_id: ItemId) -> bool:
        """The turn was a noise, so it is not misunderstood. Returns True if it was noted as misunderstood before."""
        turn = self._turn(item_id)
        was, turn.is_misunderstood = turn.is_misunderstood, False
        return was

    def misunderstandings_were_heeded(self) -> None:
        """A human was called because of the misunderstandings. Forget them, so that counting begins again."""
        for turn in self._turns.values():
            turn.is_misunderstood = False

    def ask_again(self, item_id: ItemId) -> None:
        """After this turn the agent asked the caller to repeat. Nobody knows yet whether the turn had words."""
        self.asked_again.add(item_id)
