"""Measures how long a caller waits for an answer, step by step: from their last sound until they hear the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.call.actions import TurnLatency
from relay.call.vocabulary import ItemId


@dataclass(slots=True)
class Waterfall:
    """The times of one answer (Trio clock). 0 means that this step has not come."""

    stopped: float  # The caller's last sound.
    stopped_heard: float  # When the VAD reported that the caller has stopped speaking.
    first_delta: float = 0.0
    first_written: float = 0.0
    first_heard: float = 0.0

    def latency(self) -> TurnLatency:
        """Each time in milliseconds after the caller's last sound."""

        def after(at: float) -> int | None:
            return round((at - self.stopped) * 1000) if at else None

        return TurnLatency(
            after(self.stopped_heard), after(self.first_delta), after(self.first_written), after(self.first_heard)
        )


@dataclass(slots=True)
class Waterfalls:
    """The waterfalls of a call, while they are not complete."""

    _paused: dict[ItemId, Waterfall] = field(default_factory=dict)
    _answered: Waterfall | None = None  # The waterfall of the turn that waits for an answer.
    _of_answer: dict[ItemId, Waterfall] = field(default_factory=dict)
    # Answers that have come, and of which nothing was sent yet.
    unwritten: dict[ItemId, Waterfall] = field(default_factory=dict)

    def paused(self, item_id: ItemId, stopped: float, now: float) -> None:
        """A turn of the caller has ended. Its last sound was at `stopped`."""
        self._paused[item_id] = Waterfall(stopped, now)

    def stopped(self, item_id: ItemId) -> float | None:
        """When the last sound of a turn was. None if its end was not reported."""
        waterfall = self._paused.get(item_id)
        return None if waterfall is None else waterfall.stopped

    def forget(self, item_id: ItemId) -> None:
        """This turn needs no answer."""
        self._paused.pop(item_id, None)

    def answer(self, item_id: ItemId) -> None:
        """An answer to this turn is wanted."""
        self._answered = self._paused.pop(item_id, None) or self._answered

    def nobody_waits(self) -> None:
        """No answer is wanted any more."""
        self._answered = None

    def began(self, item_id: ItemId, now: float) -> None:
        """The first audio of an answer came."""
        if self._answered is not None:
            self._answered.first_delta = now
            self._of_answer[item_id] = self.unwritten[item_id] = self._answered
            self._answered = None

    def written(self, item_id: ItemId, now: float) -> None:
        """The first audio of an answer was sent to the caller."""
        waterfall = self.unwritten.pop(item_id, None)
        if waterfall is not None:
            waterfall.first_written = now

    def heard(self, item_id: ItemId, now: float) -> None:
        """A mark has proved that the caller hears this answer."""
        waterfall = self._of_answer.get(item_id)
        if waterfall is not None and not waterfall.first_heard:
            waterfall.first_heard = now

    def take(self, item_id: ItemId) -> TurnLatency | None:
        """An answer has ended. Returns its times. None if nobody waited for it."""
        waterfall = self._of_answer.pop(item_id, None)
        self.unwritten.pop(item_id, None)
        return None if waterfall is None else waterfall.latency()
