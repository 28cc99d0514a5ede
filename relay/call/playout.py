"""Playout: what was sent to the caller, what of it was heard, and where it is cut.

Twilio plays what it gets, in order, in real time. Twilio returns a mark when the audio before it was played, but also
when a `clear` dropped that audio (docs/protocol/twilio.md 3.2). So each mark has a generation, and marks of an older
generation prove nothing. Between marks, the playback clock gives the position: audio that is written while something
plays comes after it, and audio that is written during silence plays at once. A constant delay to Twilio changes
nothing, because the `clear` is delayed as much as the audio.

Only a little of an answer is given to Twilio ahead of time (`Lead`). The rest waits here. So one `clear` stops what the
caller hears. A stop that was wrong can be undone: the answer goes on from the frame where it stopped.

Rule 1: `item_ms` counts only the model's own audio, without the end of the filter and the 0xFF that fills the last
frame.
Rule 2: nothing here reads a clock. `now` is the Trio clock in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from relay.call.actions import Play
from relay.call.echo import Echo
from relay.call.vocabulary import ItemId

BYTES_PER_MS = 8  # G.711 at 8 kHz.
FRAME_BYTES = 160  # 20 ms: the frame of every capture of Twilio's streams.
SILENCE = b"\xff"  # Mu-law zero.

# The first piece of an answer waits until this much has come. Otherwise a model that begins with tiny deltas would
# stutter (openai-agents-python #1906). A usual first delta has 250 ms and does not wait.
PREBUFFER_MS = 60
PREBUFFER_LIMIT_S = 0.1
# The first mark of an answer comes after its first frame. This mark shows when the caller began to hear the answer.
FIRST_MARK_BYTES = FRAME_BYTES
# If a mark comes this much later than usual, the playback is late: the way to Twilio had a stall. A smaller delay is
# jitter on the mark's way back.
LATE_MARK_S = 0.040
# The usual delay may grow by this much with each mark (there are about four a second). So a longer way is learned
# within a minute.
USUAL_GROWS_S = 0.001
# After a stop that is undone, the audio goes on from the frame that was playing one millisecond earlier, because our
# clock and Twilio's round differently. Nobody notices a frame that plays twice. A lost sample of speech is a click.
RESUME_EARLIER_BYTES = BYTES_PER_MS
# Trio's clock counts from the start of the machine, plus a million seconds. After a year, its seconds are exact only to
# 4 ns. So audio that was played to its end may seem to be short by up to this part of a byte.
CLOCK_ROUNDS_BYTES = 1e-3


@dataclass(frozen=True, slots=True)
class Lead:
    """How much audio Twilio holds ahead. Below `low_ms` it is filled up to `high_ms`.

    With the values 200 and 400, a stall of the loop of 150 ms is not heard, and a barge-in clears at most 400 ms
    (bench/pacing).
    """

    low_ms: int = 200
    high_ms: int = 400


PUSH_THROUGH = Lead(low_ms=10**9, high_ms=10**9)


@dataclass(slots=True)
class Utterance:
    """One item's audio on its way to the caller."""

    item: ItemId
    own: bool  # True for our words (greeting, phrase), which the model did not generate in this conversation.
    protected: bool  # True if it cannot be interrupted (notice, goodbye, emergency).
    first_at: float  # When its first byte came, Trio clock.
    mulaw: bytearray = field(default_factory=bytearray)
    sent_bytes: int = 0
    heard_bytes: int = 0  # Bytes that were heard before the last stop.
    proved_bytes: int = 0  # Bytes that a mark has proved as heard.
    said_ms: float = 0.0
    complete: bool = False  # True when all its audio has come.
    filled_bytes: int = 0  # Bytes of silence at the end of its last frame.
    written: bool = False
    stopped: bool = False  # True if the silence before its next frame is intended.

    @property
    def waiting_bytes(self) -> int:
        return len(self.mulaw) - self.sent_bytes

    @property
    def is_proved(self) -> bool:
        return self.complete and self.proved_bytes >= len(self.mulaw)


@dataclass(frozen=True, slots=True)
class Burst:
    """Frames that were sent together: bytes [start, end) of an utterance. They play from `from_s` to `to_s`."""

    utterance: Utterance
    start: int
    end: int
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A mark proved that an item was heard up to `heard_ms`. `whole`: this is the item's end."""

    item: ItemId
    heard_ms: float
    whole: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """An item that was cut off: 0 <= heard_ms <= said_ms. `complete` is True if the model had finished it."""

    item: ItemId
    heard_ms: float
    said_ms: float
    complete: bool
    own: bool
    mulaw: bytearray = field(repr=False)  # All of its audio that has come.


class Playout:
    """The playout of one call."""

    def __init__(self, lead: Lead | None = None) -> None:
        self._lead = lead or Lead()
        self.queue: deque[Utterance] = deque()  # In order: what is not completely sent, or not complete.
        self._bursts: deque[Burst] = deque()  # Sent, but not played yet.
        self.echo = Echo()  # The echo of the audio that was sent.
        self._play_end_s = 0.0
        # Before this time `due` returns nothing, because Twilio holds enough. Infinite while no whole frame is here.
        self.due_s = -math.inf
        self._late_s = 0.0
        self.usual_lag_s: float | None = None  # The usual delay of marks: the way to the caller and back.
        self._generation = 0
        self._mark_number = 0
        self._marks: dict[str, Burst] = {}
        # Item -> heard ms of what was stopped, while the stop can be undone.
        self.held: dict[ItemId, float] | None = None
        self.finished: set[ItemId] = set()  # Items for which no more audio is taken.
        self._complete: dict[ItemId, Utterance] = {}  # Items that are probably complete. More audio may still come.
        self.audible_until_s = 0.0  # When the end of the audible audio was played, or will be.
        self.sounded: ItemId | None = None  # The item whose audible sound the last `due` wrote.
        self.gaps_ms = 0.0  # Silence inside an answer that the caller heard because no audio had come.
        self.cleared_marks = 0  # Marks of an older generation that came back.
        self.unknown_marks = 0

    # What goes in

    def append(
        self,
        item: ItemId,
        mulaw: bytes,
        now: float,
        *,
        said_ms: float | None = None,
        own: bool = False,
        protected: bool = False,
        first: bool = False,
    ) -> None:
        """Add audio of an item. `said_ms` is the item's length so far. None: count the bytes.

        `first`: a new item is played before everything that waits. Audio of an item that was finished or cut is not
        taken, because there is no place for it.
        """
        if item in self.finished:
            return
        utterance = self._go_on(item) or self._open(item)
        if utterance is None:
            utterance = Utterance(item, own, protected, first_at=now)
            (self.queue.appendleft if first else self.queue.append)(utterance)
        utterance.mulaw += mulaw
        self._look_again()
        length_ms = len(utterance.mulaw) / BYTES_PER_MS
        utterance.said_ms = length_ms if said_ms is None else max(utterance.said_ms, said_ms)

    def _go_on(self, item: ItemId) -> Utterance | None:
        """More audio has come for an item that seemed complete. It goes on where it ended, before what came later."""
        utterance = self._complete.pop(item, None)
        if utterance is None:
            return None
        del utterance.mulaw[max(utterance.sent_bytes, len(utterance.mulaw) - utterance.filled_bytes) :]
        utterance.complete, utterance.filled_bytes = False, 0
        if utterance not in self.queue:
            self.queue.insert(1 if self.queue and self.queue[0].written else 0, utterance)
        return utterance

    def complete(self, item: ItemId, tail: bytes = b"") -> Heard | None:
        """All audio of this item seems to have come. Add the end of the filter, and fill the last frame with silence.

        Returns what the marks prove already, because the last byte may be heard before it is known to be the last.
        """
        utterance = self._open(item)
        if utterance is None or utterance.complete:
            return None
        utterance.mulaw += tail
        utterance.filled_bytes = -len(utterance.mulaw) % FRAME_BYTES
        utterance.mulaw += SILENCE * utterance.filled_bytes
        utterance.complete = True
        self._complete[item] = utterance
        self._look_again()
        if utterance.waiting_bytes == 0 and self.held is None:
            self.queue.remove(utterance)
        if utterance.is_proved:
            return Heard(item, utterance.said_ms, True, utterance.own)
        return None

    def withdraw(self, item: ItemId) -> None:
        """Drop an item of which nothing was sent. Nothing of it will be sent."""
        self.queue = deque(u for u in self.queue if u.item != item or u.sent_bytes)
        self._look_again()
        self._complete.pop(item, None)
        self.finished.add(item)

    def finish(self, item: ItemId) -> Heard | None:
        """Take no more audio for this item: it is complete, or its rest is not wanted."""
        heard = self.complete(item)
        self._complete.pop(item, None)
        self.finished.add(item)
        return heard

    def _open(self, item: ItemId) -> Utterance | None:
        for utterance in self.queue:
            if utterance.item == item:
                return utterance
        return None

    # What comes out

    # Complex because it takes the queue's utterances in order, and each may be empty, complete, or not yet allowed.
    def due(self, now: float) -> list[Play]:
        """The audio to write to the caller now."""
        self.sounded = None
        # If the playback is late, Twilio holds more than is counted here. This cannot be known: a mark may be late
        # although the playback is not.
        if not self.queue or self.held is not None or now <= self.due_s:
            return []
        ahead_s = self._play_end_s - now
        room = (int(self._lead.high_ms - max(0.0, ahead_s) * 1000) * BYTES_PER_MS) // FRAME_BYTES * FRAME_BYTES
        plays: list[Play] = []
        is_starved = False
        while self.queue and room > 0:
            utterance = self.queue[0]
            ready = utterance.waiting_bytes // FRAME_BYTES * FRAME_BYTES
            if ready == 0:
                if not (utterance.complete and utterance.waiting_bytes == 0):
                    is_starved = True
                    break
                self.queue.popleft()  # Its end was kept back until all its audio had come.
                continue
            if not self._may_start(utterance, now):
                break
            if not plays:
                self._catch_up(now, utterance)
            take = min(ready, room) if utterance.written else min(ready, room, FIRST_MARK_BYTES)
            plays.append(self._send(utterance, take))
            room -= take
            if utterance.complete and utterance.waiting_bytes == 0:
                self.queue.popleft()
        if plays:
            self._forget_played(now)
            self._look_again()
        if is_starved:
            self.due_s = math.inf
        return plays

    def _look_again(self) -> None:
        """The queue has changed. Now `due` returns audio as soon as Twilio holds too little."""
        self.due_s = self._play_end_s - self._lead.low_ms / 1000

    def _may_start(self, utterance: Utterance, now: float) -> bool:
        if utterance.written or utterance.complete or utterance.waiting_bytes >= PREBUFFER_MS * BYTES_PER_MS:
            return True
        return now - utterance.first_at >= PREBUFFER_LIMIT_S

    def _catch_up(self, now: float, utterance: Utterance) -> None:
        """Move the clock on: audio that is written during silence plays at once."""
        silent_s = now - self._play_end_s - self._late_s
        if silent_s < 0:
            return
        if utterance.written and not utterance.stopped:
            self.gaps_ms += silent_s * 1000
        utterance.stopped = False
        self._play_end_s, self._late_s = now, 0.0

    def _send(self, utterance: Utterance, size: int) -> Play:
        start, end = utterance.sent_bytes, utterance.sent_bytes + size
        self._mark_number += 1
        name = f"{self._generation}.{self._mark_number}"
        to_s = self._play_end_s + size / (BYTES_PER_MS * 1000)
        burst = Burst(utterance, start, end, self._play_end_s, to_s)
        mulaw = bytes(utterance.mulaw[start:end])
        self._bursts.append(burst)
        self._marks[name] = burst
        audible_until_s = self.echo.sent(mulaw, self._play_end_s)
        if audible_until_s is not None:
            self.audible_until_s, self.sounded = audible_until_s, utterance.item
        self._play_end_s = to_s
        utterance.sent_bytes = end
        utterance.written = True
        return Play(mulaw, name, utterance.item)

    def _forget_played(self, now: float) -> None:
        while self._bursts and self._bursts[0].to_s < now - self._late_s:
            self._bursts.popleft()

    # What was heard

    def marked(self, name: str, now: float) -> Heard | None:
        """A mark came back. None if it proves nothing: it is of an older generation, or it is not ours."""
        burst = self._marks.pop(name, None)
        if burst is None:
            generation = name.split(".", 1)[0]
            if generation.isdecimal() and int(generation) < self._generation:
                self.cleared_marks += 1
            else:
                self.unknown_marks += 1
            return None
        lag_s = now - burst.to_s
        usual_s = lag_s if self.usual_lag_s is None else self.usual_lag_s + USUAL_GROWS_S
        self.usual_lag_s = max(0.0, min(usual_s, lag_s))
        late_s = lag_s - self.usual_lag_s
        self._late_s = late_s if late_s > LATE_MARK_S else 0.0
        utterance = burst.utterance
        utterance.proved_bytes = max(utterance.proved_bytes, burst.end)
        whole = utterance.is_proved
        heard_ms = utterance.said_ms if whole else min(burst.end / BYTES_PER_MS, utterance.said_ms)
        return Heard(utterance.item, heard_ms, whole, utterance.own)

    def _played_bytes(self, burst: Burst, now: float) -> int:
        played = int((now - self._late_s - burst.from_s) * 1000 * BYTES_PER_MS + CLOCK_ROUNDS_BYTES)
        return max(0, min(played, burst.end - burst.start))

    def _unheard(self, now: float) -> Iterator[tuple[Utterance, int]]:
        """Every utterance with audio that was not heard, in order, and how many of its bytes were heard."""
        at: dict[int, tuple[Utterance, int]] = {}
        for burst in self._bursts:
            played = self._played_bytes(burst, now)
            if burst.start + played < burst.end and id(burst.utterance) not in at:
                at[id(burst.utterance)] = (burst.utterance, burst.start + played)
        for utterance in self.queue:
            at.setdefault(id(utterance), (utterance, utterance.sent_bytes))
        for utterance, heard_bytes in at.values():
            yield utterance, max(heard_bytes, utterance.heard_bytes)

    @property
    def quiet_since_s(self) -> float:
        """When the end of what was sent was played, or will be (Trio clock, s)."""
        return self._play_end_s + self._late_s

    @property
    def is_all_proved(self) -> bool:
        """True if nothing waits and every mark has come back: the caller has heard everything."""
        return not self.queue and not self._marks

    def is_speaking(self, now: float) -> bool:
        """True while the caller hears something of ours, or is about to."""
        return self._play_end_s + self._late_s > now or bool(self.queue)

    @property
    def is_held(self) -> bool:
        """True between `hold` and `resume` or `cut`."""
        return self.held is not None

    def heard_now(self, now: float) -> tuple[Utterance | None, float]:
        """What the caller hears now or will hear next (None in silence), and `quiet_since_s`."""
        until_s = self._play_end_s + self._late_s
        if until_s > now:
            for burst in self._bursts:
                if burst.to_s + self._late_s > now:
                    return burst.utterance, until_s
        return self.queue[0] if self.queue else None, until_s

    def left_ms(self, now: float) -> float:
        """The milliseconds until everything that has come was played."""
        waiting = sum(utterance.waiting_bytes for utterance in self.queue)
        return max(0.0, (self._play_end_s + self._late_s - now) * 1000) + waiting / BYTES_PER_MS

    def heard_ms(self, item: ItemId, now: float) -> float | None:
        """How much of an item the caller has heard. None if all of it was heard, or if it never came here."""
        for utterance, heard_bytes in self._unheard(now):
            if utterance.item == item:
                if self.held is not None:
                    return self.held.get(item, 0.0)
                return min(heard_bytes / BYTES_PER_MS, utterance.said_ms)
        return None

    # Barge-in

    def hold(self, now: float) -> bool:
        """Stop at the place that the caller hears. True if a `clear` must be written, because Twilio holds audio."""
        if self.held is not None:
            return False
        self.held = {}
        back: list[Utterance] = []
        # If audio was played to its end, its mark is on its way back and will prove that. All other marks prove
        # nothing.
        ended = {n: b for n, b in self._marks.items() if self._played_bytes(b, now) == b.end - b.start}
        for utterance, heard_bytes in self._unheard(now):
            self.held[utterance.item] = min(heard_bytes / BYTES_PER_MS, utterance.said_ms)
            if heard_bytes < utterance.sent_bytes:
                utterance.sent_bytes = max(0, heard_bytes - RESUME_EARLIER_BYTES) // FRAME_BYTES * FRAME_BYTES
            utterance.heard_bytes, utterance.stopped = heard_bytes, True
            back.append(utterance)
        outstanding = self._play_end_s + self._late_s > now or bool(self._marks)
        self.queue = deque(back)
        self._bursts.clear()
        self.echo.cleared(now - self._late_s)
        self._generation += 1
        self._marks = ended
        self._play_end_s, self._late_s = min(now, self._play_end_s + self._late_s), 0.0
        self._look_again()
        self.audible_until_s = min(self.audible_until_s, now)
        return outstanding

    def resume(self) -> None:
        """Go on from the frame where `hold` stopped. The next `due` writes it."""
        self.held = None

    def cut(self, now: float) -> list[Cut]:
        """Give up everything that was not heard. The audio is stopped first, if it still plays.

        Returns the cuts in the order of playing.
        """
        if self.held is None:
            self.hold(now)
        held, self.held = self.held or {}, None
        cuts = [
            Cut(u.item, held.get(u.item, 0.0), u.said_ms, u.complete, u.own, u.mulaw)
            for u in self.queue  # Audio that was added after the hold was not heard.
        ]
        for cut in cuts:
            self.finished.add(cut.item)
            self._complete.pop(cut.item, None)
        self.queue.clear()
        return cuts
