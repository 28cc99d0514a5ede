"""Holds, for each turn of the caller, when it began, whether its words are awaited, and what it has caused."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.call.conversation import Turn
from relay.call.vocabulary import CallerTranscribed, ItemId


@dataclass(slots=True)
class CallerTurn:
    """One turn of the caller. Times are of the Trio clock."""

    began_at: float | None = None  # None if its beginning was never reported, or was already asked for.
    silent_since: float | None = None  # When both sides fell silent before it. None: never reported.
    words_until: float = 0.0  # Until this time, other parts of the call wait for the turn's words.
    spoken: Turn | None = None  # The turn as the conversation has it. None before it has its place there.
    early: CallerTranscribed | None = None  # Words that came before its commit.
    is_answered: bool = False  # True if an answer that was asked for before these words came answers this turn too.
    has_interrupted: bool = False  # True if an answer was given up for it.
    is_misunderstood: bool = False  # True if the agent or the caller did not understand it.


@dataclass(slots=True)
class CallerTurns:
    """All turns of the caller in one call, by item."""

    _turns: dict[ItemId, CallerTurn] = field(default_factory=dict)
    awaited: dict[ItemId, CallerTurn] = field(default_factory=dict)  # Turns whose words are not known yet.
    # Turns about which the agent asked again. They may have been noises.
    asked_again: set[ItemId] = field(default_factory=set)

    def _turn(self, item_id: ItemId) -> CallerTurn:
        return self._turns.setdefault(item_id, CallerTurn())

    # The beginning and the words of turns

    def begin(self, item_id: ItemId, now: float, silent_since: float) -> None:
        """The VAD heard the turn begin."""
        turn = self._turn(item_id)
        if turn.began_at is None:
            turn.began_at = now
        if turn.silent_since is None:
            turn.silent_since = silent_since

    def began_at(self, item_id: ItemId) -> float | None:
        """When the turn began. None if that was never reported."""
        return self._turn(item_id).began_at

    def take_began_at(self, item_id: ItemId) -> float | None:
        """When the turn began. Asked once, when the turn takes its place in the conversation."""
        turn = self._turn(item_id)
        began_at, turn.began_at = turn.began_at, None
        return began_at

    def became_item(
        self, item_id: ItemId, spoken: Turn, words_until: float
    ) -> tuple[float | None, CallerTranscribed | None]:
        """The turn has its place. Returns when the turn began, and the words that came before it had its place."""
        turn = self.awaited[item_id] = self._turn(item_id)
        turn.spoken, turn.words_until = spoken, words_until
        early, turn.early = turn.early, None
        return self.take_began_at(item_id), early

    def words_came(self, event: CallerTranscribed) -> CallerTurn | None:
        """The words of a turn have come.

        None if these words are not awaited: they are a repeat, or of another session, or came before the commit. Words
        that came before the commit are kept if the turn's beginning was reported.
        """
        turn = self.awaited.pop(event.item_id, None)
        if turn is None and (early := self._turns.get(event.item_id)) is not None and early.began_at is not None:
            early.early = event
        return turn

    def awaits_words(self, now: float) -> bool:
        """True while the words of a turn may come at any moment. After that, late words still count."""
        return any(now < turn.words_until for turn in self.awaited.values())

    def forget_words(self) -> None:
        """The session has ended, so its transcriptions will not come."""
        self.awaited.clear()
        for turn in self._turns.values():
            turn.early = None

    # The effects of turns

    def were_asked_about(self) -> None:
        """An answer was asked for. This answer also answers turns whose words are not known yet."""
        for turn in self.awaited.values():
            turn.is_answered = True

    def answer_was_given_up(self, by: ItemId | None = None) -> None:
        """The answer that was asked for was given up. `by`: the turn for which it was given up, if there was one."""
        for turn in self._turns.values():
            turn.is_answered = False
        if by is not None:
            self._turn(by).has_interrupted = True

    def is_answered(self, item_id: ItemId) -> bool:
        """True if an answer that was asked for before the turn's words were known answers it."""
        return self._turn(item_id).is_answered

    def was_misunderstood(self, item_id: ItemId) -> bool:
        """The agent or the caller did not understand this turn. False if that was known already."""
        turn = self._turn(item_id)
        is_new, turn.is_misunderstood = not turn.is_misunderstood, True
        return is_new

    def was_not_misunderstood(self, item_id: ItemId) -> bool:
        """The turn was a noise, which nobody can understand. False if it was not counted."""
        turn = self._turn(item_id)
        was, turn.is_misunderstood = turn.is_misunderstood, False
        return was

    def misunderstandings_were_heeded(self) -> None:
        """A human was called because of the misunderstandings. Counting begins again."""
        for turn in self._turns.values():
            turn.is_misunderstood = False

    def ask_again(self, item_id: ItemId) -> None:
        """The agent asked again. It is not known yet whether the turn had words."""
        self.asked_again.add(item_id)
