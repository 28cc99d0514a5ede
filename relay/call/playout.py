"""Knows what was sent to the caller, how much of it was heard, and where an item must be cut.

Twilio plays audio in the order in which it gets it, in real time. It returns a mark when the audio before the mark was
played, but also when a `clear` dropped that audio (docs/protocol/twilio.md 3.2). So the name of each mark has a
generation, which grows with each hold. After a hold, a mark of an older generation proves something only if its audio
had been played before the hold. Between two marks, the position is calculated: audio that is written while other audio
plays is played after that audio, and audio that is written during silence is played at once. A constant delay to Twilio
does not matter, because a `clear` has the same delay as the audio.

Twilio gets only a little audio ahead of time (`Lead`). All other audio waits here. So one `clear` is enough to stop the
agent. If the agent should not have stopped, the answer goes on from the frame at which it stopped.

`said_ms` and `heard_ms` count only the audio of the item itself. They do not count the last samples that the filter
adds, nor the silence that fills the last frame. Nothing here reads a clock: `now` is the Trio clock in seconds.
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
FRAME_BYTES = 160  # 20 ms of audio. All captures of Twilio's streams have frames of this length.
SILENCE = b"\xff"  # Mu-law zero.

# An answer waits until this much of its audio has come, but at most PREBUFFER_LIMIT_S. Otherwise a model that begins
# with tiny deltas would stutter (openai-agents-python #1906). A usual first delta has 250 ms and does not wait.
PREBUFFER_MS = 60
PREBUFFER_LIMIT_S = 0.1
# The first mark of an answer comes after its first frame. It shows when the caller began to hear the answer.
FIRST_MARK_BYTES = FRAME_BYTES
# If a mark comes later than usual by more than this, the playback is late, because the way to Twilio had a stall. A
# smaller delay is jitter on the mark's way back.
LATE_MARK_S = 0.040
# With each mark, the usual delay may grow by this much. There are about four marks a second, so the relay learns within
# a minute that the connection has become slower.
USUAL_GROWS_S = 0.001
# After a hold is undone, the audio goes on from the frame that was played one millisecond before the hold, because our
# clock and Twilio's round differently. Nobody notices a frame that is played twice. A missing sample would be a click.
RESUME_EARLIER_BYTES = BYTES_PER_MS
# The seconds of Trio's clock are large numbers. After a year they are exact only to 4 ns. So audio that was played to
# its end may seem to lack this much of a byte.
CLOCK_ROUNDS_BYTES = 1e-3


@dataclass(frozen=True, slots=True)
class Lead:
    """How much audio Twilio should have that is not played yet.

    If Twilio has less than `low_ms`, more is sent, up to `high_ms`.

    With 200 and 400 ms, nobody hears that the loop stalls for 150 ms, and a barge-in drops at most 400 ms of audio
    (bench/pacing).
    """

    low_ms: int = 200
    high_ms: int = 400


@dataclass(slots=True)
class Utterance:
    """The audio of one item on its way to the caller."""

    item: ItemId
    own: bool  # True for a sentence of the relay's own (greeting, phrase).
    protected: bool  # True if it cannot be interrupted (notice, last words).
    first_at: float  # When its first byte came (Trio clock).
    mulaw: bytearray = field(default_factory=bytearray)
    sent_bytes: int = 0
    heard_bytes: int = 0  # How many bytes had been heard at the last hold.
    proved_bytes: int = 0  # How many bytes were heard, as a mark has proved.
    said_ms: float = 0.0
    complete: bool = False  # True if the item seems to have no more audio.
    filled_bytes: int = 0  # How many bytes of silence fill its last frame.
    written: bool = False
    stopped: bool = False  # True after a hold. Then the silence before the next frame is no gap.

    @property
    def waiting_bytes(self) -> int:
        return len(self.mulaw) - self.sent_bytes

    @property
    def is_proved(self) -> bool:
        return self.complete and self.proved_bytes >= len(self.mulaw)


@dataclass(frozen=True, slots=True)
class Burst:
    """Frames of one utterance that were sent together: bytes [start, end). They play from `from_s` to `to_s`."""

    utterance: Utterance
    start: int
    end: int
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A mark has proved that an item was heard up to `heard_ms`. `whole`: the item was heard to its end."""

    item: ItemId
    heard_ms: float
    whole: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """An item that was cut off at `heard_ms`, which is from 0 to `said_ms`.

    `complete`: all audio of the item had come.
    """

    item: ItemId
    heard_ms: float
    said_ms: float
    complete: bool
    own: bool
    mulaw: bytearray = field(repr=False)  # All audio of the item that has come.


class Playout:
    """Knows what one call has sent to the caller and what was heard of it."""

    def __init__(self, lead: Lead | None = None) -> None:
        self._lead = lead or Lead()
        # The utterances that have audio to send or may get more audio, in the order of playing.
        self.queue: deque[Utterance] = deque()
        self._bursts: deque[Burst] = deque()  # Bursts that were sent and not played yet.
        self.echo = Echo()  # Knows how loud the sent audio may come back.
        self._play_end_s = 0.0
        # Before this time, `due` returns nothing, because Twilio has enough audio. Infinite while there is no whole
        # frame to send.
        self.due_s = -math.inf
        self._late_s = 0.0  # How much later Twilio plays the audio than is calculated here.
        self.usual_lag_s: float | None = None  # How long a mark usually takes to come back after its audio was played.
        self._generation = 0
        self._mark_number = 0
        self._marks: dict[str, Burst] = {}
        # While audio is held: item -> how many ms of the item had been heard at the hold. None if nothing is held.
        self.held: dict[ItemId, float] | None = None
        self.finished: set[ItemId] = set()  # Items for which no more audio is accepted.
        self._complete: dict[ItemId, Utterance] = {}  # Items that seem complete. More of their audio may still come.
        self.audible_until_s = 0.0  # When the last audible audio was played, or will be.
        self.sounded: ItemId | None = None  # The item whose audible audio the last call of `due` returned.
        self.gaps_ms = 0.0  # How much silence the caller heard inside answers, because their audio came too late.
        self.cleared_marks = 0  # How many marks came back after a hold had dropped their audio.
        self.unknown_marks = 0

    # Audio comes in

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
        """Add audio of an item. `said_ms` is the item's length so far. If it is None, the length is that of all bytes.

        `first`: if the item is new, it plays before everything that waits. Audio of an item that was finished or cut
        off is dropped.
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
        """An item that seemed complete has more audio. It continues where it ended, before items that came later."""
        utterance = self._complete.pop(item, None)
        if utterance is None:
            return None
        del utterance.mulaw[max(utterance.sent_bytes, len(utterance.mulaw) - utterance.filled_bytes) :]
        utterance.complete, utterance.filled_bytes = False, 0
        if utterance not in self.queue:
            self.queue.insert(1 if self.queue and self.queue[0].written else 0, utterance)
        return utterance

    def complete(self, item: ItemId, tail: bytes = b"") -> Heard | None:
        """All audio of this item seems to have come. `tail` is what the filter adds at the end.

        The last frame is filled with silence. Returns `Heard` if the marks have proved already that the whole item was
        heard. The relay may learn that an item is complete only after its last byte was played.
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
        """Drop an item of which nothing was sent. No more audio of it is accepted."""
        self.queue = deque(u for u in self.queue if u.item != item or u.sent_bytes)
        self._look_again()
        self._complete.pop(item, None)
        self.finished.add(item)

    def finish(self, item: ItemId) -> Heard | None:
        """Accept no more audio of this item: it is complete, or the rest is not wanted."""
        heard = self.complete(item)
        self._complete.pop(item, None)
        self.finished.add(item)
        return heard

    def _open(self, item: ItemId) -> Utterance | None:
        for utterance in self.queue:
            if utterance.item == item:
                return utterance
        return None

    # Audio goes out

    # Complex because it goes through the utterances in order, and each may be empty, complete, or too short to begin.
    def due(self, now: float) -> list[Play]:
        """The audio that must be written to the caller now."""
        self.sounded = None
        # If the playback is late, Twilio has more audio than is counted here. But a late mark does not prove this,
        # because only the mark may be late. So `_late_s` is not counted here.
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
                self.queue.popleft()  # It was kept in the queue until all its audio had come.
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
        """The queue has changed. `due` returns audio as soon as Twilio has less than `low_ms`."""
        self.due_s = self._play_end_s - self._lead.low_ms / 1000

    def _may_start(self, utterance: Utterance, now: float) -> bool:
        if utterance.written or utterance.complete or utterance.waiting_bytes >= PREBUFFER_MS * BYTES_PER_MS:
            return True
        return now - utterance.first_at >= PREBUFFER_LIMIT_S

    def _catch_up(self, now: float, utterance: Utterance) -> None:
        """If Twilio has nothing left to play, the next audio plays from now on."""
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
        """A mark came back. Returns None if it proves nothing: a hold has dropped its audio, or it is not our mark."""
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
        """The utterances that were not heard to their end, in order, and how many bytes of each were heard."""
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
        """When everything that was sent has been played (Trio clock). It may be in the future."""
        return self._play_end_s + self._late_s

    @property
    def is_all_proved(self) -> bool:
        """True if nothing waits and all marks have come back: the caller has heard everything."""
        return not self.queue and not self._marks

    def is_speaking(self, now: float) -> bool:
        """True while the caller hears something of ours, or will in a moment."""
        return self._play_end_s + self._late_s > now or bool(self.queue)

    @property
    def is_held(self) -> bool:
        """True from `hold` until `resume` or `cut`."""
        return self.held is not None

    def heard_now(self, now: float) -> tuple[Utterance | None, float]:
        """The utterance that the caller hears now or will hear next (None if there is none), and `quiet_since_s`."""
        until_s = self._play_end_s + self._late_s
        if until_s > now:
            for burst in self._bursts:
                if burst.to_s + self._late_s > now:
                    return burst.utterance, until_s
        return self.queue[0] if self.queue else None, until_s

    def left_ms(self, now: float) -> float:
        """How many milliseconds it takes to play everything that has come."""
        waiting = sum(utterance.waiting_bytes for utterance in self.queue)
        return max(0.0, (self._play_end_s + self._late_s - now) * 1000) + waiting / BYTES_PER_MS

    def heard_ms(self, item: ItemId, now: float) -> float | None:
        """How many ms of an item the caller has heard. None if they have heard all of it, or if it was never added."""
        for utterance, heard_bytes in self._unheard(now):
            if utterance.item == item:
                if self.held is not None:
                    return self.held.get(item, 0.0)
                return min(heard_bytes / BYTES_PER_MS, utterance.said_ms)
        return None

    # Barge-in

    def hold(self, now: float) -> bool:
        """Stop playing. Returns True if a `clear` must be written, because Twilio may have audio that was not played.

        The audio can go on later from here (`resume`), or be given up (`cut`).
        """
        if self.held is not None:
            return False
        self.held = {}
        back: list[Utterance] = []
        # The marks of audio that was played to its end are on their way back. Only these marks still prove something.
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
        """Undo the hold. The next `due` returns the audio from the frame at which it stopped."""
        self.held = None

    def cut(self, now: float) -> list[Cut]:
        """Give up everything that was not heard. If the audio still plays, it is stopped first.

        Returns what was cut off, in the order of playing.
        """
        if self.held is None:
            self.hold(now)
        held, self.held = self.held or {}, None
        cuts = [
            Cut(u.item, held.get(u.item, 0.0), u.said_ms, u.complete, u.own, u.mulaw)
            for u in self.queue  # Audio that came after the hold was not heard at all.
        ]
        for cut in cuts:
            self.finished.add(cut.item)
            self._complete.pop(cut.item, None)
        self.queue.clear()
        return cuts
