"""What is known of the caller's turns besides their words: their beginning, words awaited, what they led to."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.call.vocabulary import CallerTranscribed, ItemId


@dataclass(slots=True)
class CallerTurns:
    """The caller's turns of one call, by item. Times with `_ms` are of the call, others of the Trio clock."""

    _began_ms: dict[ItemId, int] = field(default_factory=dict)
    _silent_before: dict[ItemId, float] = field(default_factory=dict)  # since when both were silent when it began
    _awaited: dict[ItemId, float] = field(default_factory=dict)  # not transcribed yet; until when others wait for it
    # Words that came before the commit of their turn
    _early: dict[ItemId, CallerTranscribed] = field(default_factory=dict)
    # Of those awaited: an answer that was asked for later answers them too
    _answered_unknown: set[ItemId] = field(default_factory=set)
    _interrupted: set[ItemId] = field(default_factory=set)  # an answer was given up for them
    _misunderstood: set[ItemId] = field(default_factory=set)  # one of the two has not understood them
    # The agent asked again about these: were they words, or a noise?
    _asked_again: set[ItemId] = field(default_factory=set)

    # Their beginning and their words

    def begin(self, item_id: ItemId, began_ms: int, silent_since: float) -> None:
        """The VAD heard it begin."""
        self._began_ms.setdefault(item_id, began_ms)
        self._silent_before.setdefault(item_id, silent_since)

    def began_ms(self, item_id: ItemId) -> int:
        """When it began; the call's beginning if that was never told."""
        return self._began_ms.get(item_id, 0)

    def take_began_ms(self, item_id: ItemId, otherwise: int) -> int:
        """When it began. Asked once, when it takes its place in the conversation."""
        return self._began_ms.pop(item_id, otherwise)

    def silent_before(self, item_id: ItemId) -> float | None:
        """Since when both sides had been silent when it began. None if its beginning was never told."""
        return self._silent_before.pop(item_id, None)

    def await_words(self, item_id: ItemId, until: float) -> None:
        """It became an item: its words are on their way."""
        self._awaited[item_id] = until

    def keep_early(self, event: CallerTranscribed) -> None:
        """Its words came before it is an item: they wait. Nothing if its beginning was never told."""
        if event.item_id in self._began_ms:
            self._early[event.item_id] = event

    def take_early(self, item_id: ItemId) -> CallerTranscribed | None:
        """The words that came before it became an item, once."""
        return self._early.pop(item_id, None)

    def words_came(self, item_id: ItemId) -> bool:
        """Its words have come. False if none are awaited: told twice, or an item of another session."""
        return self._awaited.pop(item_id, None) is not None

    def awaits_words(self, now: float) -> bool:
        """True while the words of a turn may come at any moment. Later words count, but nobody waits for them."""
        return any(now < until for until in self._awaited.values())

    @property
    def are_open(self) -> bool:
        """True while the words of any turn are not known."""
        return bool(self._awaited)

    def forget_words(self) -> None:
        """The session has ended, and its transcriptions with it."""
        self._awaited.clear()
        self._early.clear()

    # What they led to

    def were_asked_about(self) -> None:
        """An answer was asked for. It also answers the turns whose words are not known yet."""
        self._answered_unknown.update(self._awaited)

    def answer_was_given_up(self) -> None:
        """The answer that was asked for answers nothing any more."""
        self._answered_unknown.clear()

    def is_answered(self, item_id: ItemId) -> bool:
        """True if an answer that was asked for before its words were known answers it."""
        return item_id in self._answered_unknown

    def interrupted(self, item_id: ItemId) -> None:
        """An answer was given up for it."""
        self._interrupted.add(item_id)

    def has_interrupted(self, item_id: ItemId) -> bool:
        """True if an answer was given up for it."""
        return item_id in self._interrupted

    def was_misunderstood(self, item_id: ItemId) -> bool:
        """One of the two has not understood it. False if that was known already."""
        is_new = item_id not in self._misunderstood
        self._misunderstood.add(item_id)
        return is_new

    def was_not_misunderstood(self, item_id: ItemId) -> bool:
        """It was a noise, which nobody can understand. False if it was not counted."""
        was = item_id in self._misunderstood
        self._misunderstood.discard(item_id)
        return was

    def misunderstandings_were_heeded(self) -> None:
        """A human was called because of them: counting begins again."""
        self._misunderstood.clear()

    def ask_again(self, item_id: ItemId) -> None:
        """The agent asked again. It is not known yet whether there were words to understand."""
        self._asked_again.add(item_id)

    def was_asked_again(self, item_id: ItemId) -> bool:
        """True if the agent asked again about it."""
        return item_id in self._asked_again
