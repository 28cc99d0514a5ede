"""What is known of the caller's turns besides their words: their beginning, words awaited, what they led to."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.call.conversation import Turn
from relay.call.vocabulary import CallerTranscribed, ItemId


@dataclass(slots=True)
class CallerTurn:
    """One turn of the caller's. Times are of the Trio clock."""

    began_at: float | None = None  # None: never told, or its place in the conversation is taken
    silent_since: float | None = None  # since when both sides were silent when it began; None: never told
    words_until: float = 0.0  # others wait for its words until then
    spoken: Turn | None = None  # its place in the conversation, when it has one
    early: CallerTranscribed | None = None  # words that came before its commit
    is_answered: bool = False  # what was asked for before its words were known answers it, too
    has_interrupted: bool = False  # an answer was given up for it
    is_misunderstood: bool = False  # one of the two has not understood it


@dataclass(slots=True)
class CallerTurns:
    """The caller's turns of one call, by item."""

    _turns: dict[ItemId, CallerTurn] = field(default_factory=dict)
    awaited: dict[ItemId, CallerTurn] = field(default_factory=dict)  # of these the words are not known yet
    asked_again: set[ItemId] = field(default_factory=set)  # about these the agent asked again: words, or a noise?

    def _turn(self, item_id: ItemId) -> CallerTurn:
        return self._turns.setdefault(item_id, CallerTurn())

    # Their beginning and their words

    def begin(self, item_id: ItemId, now: float, silent_since: float) -> None:
        """The VAD heard it begin."""
        turn = self._turn(item_id)
        if turn.began_at is None:
            turn.began_at = now
        if turn.silent_since is None:
            turn.silent_since = silent_since

    def began_at(self, item_id: ItemId) -> float | None:
        """When it began; None if that was never told."""
        return self._turn(item_id).began_at

    def take_began_at(self, item_id: ItemId) -> float | None:
        """When it began. Asked once, when it takes its place in the conversation."""
        turn = self._turn(item_id)
        began_at, turn.began_at = turn.began_at, None
        return began_at

    def became_item(
        self, item_id: ItemId, spoken: Turn, words_until: float
    ) -> tuple[float | None, CallerTranscribed | None]:
        """It took its place, and its words are on their way: when it began, and words that came before this."""
        turn = self.awaited[item_id] = self._turn(item_id)
        turn.spoken, turn.words_until = spoken, words_until
        early, turn.early = turn.early, None
        return self.take_began_at(item_id), early

    def words_came(self, event: CallerTranscribed) -> CallerTurn | None:
        """Its words are there. None if none are awaited: told twice, of another session's item, or ahead of its commit.

        The last are kept, where its beginning was told.
        """
        turn = self.awaited.pop(event.item_id, None)
        if turn is None and (early := self._turns.get(event.item_id)) is not None and early.began_at is not None:
            early.early = event
        return turn

    def awaits_words(self, now: float) -> bool:
        """True while the words of a turn may come at any moment. Later words count, but nobody waits for them."""
        return any(now < turn.words_until for turn in self.awaited.values())

    def forget_words(self) -> None:
        """The session has ended, and its transcriptions with it."""
        self.awaited.clear()
        for turn in self._turns.values():
            turn.early = None

    # What they led to

    def were_asked_about(self) -> None:
        """An answer was asked for. It also answers the turns whose words are not known yet."""
        for turn in self.awaited.values():
            turn.is_answered = True

    def answer_was_given_up(self, by: ItemId | None = None) -> None:
        """What was asked for answers nothing any more. `by`: the turn for which it was given up, if it was one."""
        for turn in self._turns.values():
            turn.is_answered = False
        if by is not None:
            self._turn(by).has_interrupted = True

    def is_answered(self, item_id: ItemId) -> bool:
        """True if an answer that was asked for before its words were known answers it."""
        return self._turn(item_id).is_answered

    def was_misunderstood(self, item_id: ItemId) -> bool:
        """One of the two has not understood it. False if that was known already."""
        turn = self._turn(item_id)
        is_new, turn.is_misunderstood = not turn.is_misunderstood, True
        return is_new

    def was_not_misunderstood(self, item_id: ItemId) -> bool:
        """It was a noise, which nobody can understand. False if it was not counted."""
        turn = self._turn(item_id)
        was, turn.is_misunderstood = turn.is_misunderstood, False
        return was

    def misunderstandings_were_heeded(self) -> None:
        """A human was called because of them: counting begins again."""
        for turn in self._turns.values():
            turn.is_misunderstood = False

    def ask_again(self, item_id: ItemId) -> None:
        """The agent asked again. It is not known yet whether there were words to understand."""
        self.asked_again.add(item_id)
