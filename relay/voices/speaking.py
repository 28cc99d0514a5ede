"""Keeps the state of a call's items at the voice service. Text goes in, and messages to send and events come out.

Each item has a context at the service. A context cannot be stopped: when it is closed, it speaks its text to the end.
So the sound of an item that was cut off is dropped here, by the id of its context. Nothing here reads a clock: all
times are passed in, in seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from relay.call.vocabulary import ItemId, Position
from relay.voices import elevenlabs_protocol as protocol
from relay.voices.elevenlabs_protocol import Aligned, Message, VoiceProtocolError
from relay.voices.sound_check import trouble
from relay.voices.text_for_speech import Clause, TextForSpeech
from relay.voices.voice import Spoken, SpokenWhole, VoiceEvent, VoiceFault, VoiceLost

BYTES_PER_MS = 8
# The service allows five contexts on a socket. The context "idle" always stays open. A message to a context is the only
# documented way to keep the socket alive between answers. The first message of "idle" also shows a wrong key or voice
# while the phone still rings. So four contexts are free for items.
IDLE = "idle"
CONTEXTS = 4
# The service closes a context after 180 s without a message. A message is sent after a third of this time.
KEEP_ALIVE_S = 60.0
# After a flush, sound comes within 0.15 to 0.44 s (docs/protocol/elevenlabs.md 3). If all earlier sound has been played
# and no new sound has come for this long, the voice counts as lost.
SILENT_S = 0.6
# If no sound has come for this long, earlier sound that still plays does not count. Then the voice is lost after
# another SILENT_S.
SILENT_LIMIT_S = 5.0
# A context that is closing counts as spoken if its last message has not come FINAL_S after its last sound. If the
# service does not say which characters were spoken, this time is FINAL_UNALIGNED_S after its last sound was played.
FINAL_S, FINAL_UNALIGNED_S = 0.5, 2.0
# If all pauses that the service causes inside an item are longer than this together, the voice counts as lost.
HOLES_S = 0.8
# The first 0.3 s after the last text was sent do not count as a pause, because then the text came late, not the sound.
FIRST_SOUND_S = 0.3
# A context that was cut off speaks its text to the end, several times faster than real time. It counts as open for this
# long.
GHOST_S = 10.0
# All sound of an item has come if the alignments lack at most this share of the sent characters, or at most this number
# of characters.
ALIGNED_SHARE, ALIGNED_LEAST = 0.05, 2
# An unfinished sentence is spoken if the sound that has come will end in less than this, and the model has written
# nothing for longer than this.
PRESS_S = 0.3


@dataclass(slots=True)
class _Context:
    """The context of one item."""

    id: str
    item_id: ItemId
    text: TextForSpeech = field(default_factory=TextForSpeech)
    clauses: deque[Clause] = field(default_factory=deque)  # Clauses that are not sent, because no context was free.
    is_open: bool = False  # True after its first message.
    is_complete: bool = False  # True if the item's text is complete.
    is_closing: bool = False  # True after close_context.
    places: deque[tuple[int, int]] = field(default_factory=deque)  # Places in the sent text: see Clause.
    sent_sounds: int = 0  # How many characters were sent. Blanks do not count.
    heard_sounds: int = 0  # How many of the sent characters were spoken, as the alignments say.
    is_aligned: bool = False  # True if the service sends alignments: which characters are spoken when.
    bytes: int = 0
    began_at: float | None = None  # When its sound began to play.
    sent_at: float = 0.0  # When its last text was sent.
    changed_at: float = 0.0  # When its last text or sound came.
    said_at: float = 0.0  # When the model wrote its last text.
    holes_s: float = 0.0  # How long all pauses together were that the caller heard inside the item.
    input_at: float = 0.0  # When the last message was sent to this context.

    @property
    def played_until(self) -> float:
        """When all sound that has come will have been played, at the earliest."""
        return self.changed_at if self.began_at is None else self.began_at + self.bytes / BYTES_PER_MS / 1000

    @property
    def is_awaited(self) -> bool:
        """True if sound of the sent text is still missing."""
        if self.is_aligned:
            missing = self.sent_sounds - self.heard_sounds
            return missing > max(ALIGNED_LEAST, ALIGNED_SHARE * self.sent_sounds)
        return self.sent_sounds > 0 and (self.began_at is None or self.sent_at >= self.changed_at)


class Speaking:
    """Keeps the contexts of one socket."""

    def __init__(self) -> None:
        self.characters = 0
        self.is_lost = False
        self.late_audio = 0  # How many pieces of sound were dropped, because their item was cut off or had ended.
        self.bad_messages = 0
        self.unknown_keys = 0
        self._by_item: dict[ItemId, _Context] = {}
        self._by_id: dict[str, _Context] = {}
        self._over: set[ItemId] = set()  # Items that were cut off or are complete. They get no more text.
        self._ghosts: dict[str, float] = {}  # Contexts that were cut off and still speak -> when they were cut off.
        self._number = 0
        self._idle_at = 0.0
        self._out: list[bytes] = []
        self._events: list[VoiceEvent] = []

    # What goes out

    def take(self) -> list[bytes]:
        """Take the messages that must be sent, in order."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> VoiceEvent | None:
        """Take the next event. None if there is none. Events of an item that was cut off do not come."""
        return self._events.pop(0) if self._events else None

    @property
    def has_events(self) -> bool:
        """True if there are events that were not taken."""
        return bool(self._events)

    # What the user of a voice wants

    def begin(self, now: float) -> None:
        """The socket is open. Open the context "idle"."""
        self._out.append(protocol.begin_context(IDLE))
        self._idle_at = now

    def say(self, item_id: ItemId, text: str, now: float) -> None:
        """Add a piece of an item's text. Its complete clauses are sent."""
        if self.is_lost or item_id in self._over:
            return
        context = self._context(item_id)
        if context.is_complete:
            return
        context.said_at = now
        self._add(context, context.text.feed(text), now)

    def finish(self, item_id: ItemId, now: float) -> None:
        """The text of this item is complete. The last clauses are sent, and the context is closed."""
        if self.is_lost or item_id in self._over:
            return
        context = self._context(item_id)
        context.is_complete = True
        self._add(context, context.text.end(), now)
        if not context.is_open and not context.clauses:
            self._whole(context)  # Nothing in the text can be spoken.
        self._close_if_sent(context, now)

    def cut(self, item_id: ItemId, now: float) -> None:
        """This item is not wanted any more. Its context is closed, and its sound is dropped."""
        self._over.add(item_id)
        context = self._by_item.pop(item_id, None)
        if context is None:
            return
        del self._by_id[context.id]
        if context.is_open:
            self._ghosts[context.id] = now
            if not context.is_closing:
                self._out.append(protocol.close_context(context.id))
        self._events = [each for each in self._events if isinstance(each, VoiceLost) or each.item_id != item_id]
        self._open_waiting(now)

    def tick(self, now: float) -> None:
        """Do what is due: keep contexts alive, and find out whether the voice is silent."""
        if self.is_lost:
            return
        if now - self._idle_at >= KEEP_ALIVE_S:
            self._idle_at = now
            self._out.append(protocol.keep_alive(IDLE))
        if any(now - since > GHOST_S for since in self._ghosts.values()):
            self._ghosts = {id_: since for id_, since in self._ghosts.items() if now - since <= GHOST_S}
            self._open_waiting(now)
        for context in list(self._by_item.values()):
            if context.is_open and not context.is_closing and now - context.input_at >= KEEP_ALIVE_S:
                context.input_at = now
                self._out.append(protocol.keep_alive(context.id))
            self._look_at(context, now)

    def _look_at(self, context: _Context, now: float) -> None:
        since = min(max(context.changed_at, context.played_until), context.changed_at + SILENT_LIMIT_S)
        if context.is_awaited or context.clauses:
            if now - since > SILENT_S:
                words = f"ElevenLabs has sent no sound for {now - since:.1f} s, although it has text to speak"
                self.lose(VoiceFault.SILENT, words)
        elif context.is_closing:
            over_at = context.changed_at + FINAL_S if context.is_aligned else since + FINAL_UNALIGNED_S
            if now > over_at:
                self._ghosts[context.id] = now  # The last message of the context may still come.
                self._whole(context)
        elif context.text.is_waiting and context.played_until - now < PRESS_S and now - context.said_at > PRESS_S:
            self._add(context, context.text.press(), now)

    def lose(self, fault: VoiceFault, words: str, do: str = "") -> None:
        """The voice is lost. Only the first fault is reported."""
        if self.is_lost:
            return
        self.is_lost = True
        unspoken = tuple(self._by_item)
        self._events.append(VoiceLost(fault, words, do or protocol.remedy(fault), unspoken))

    # To the service

    def _context(self, item_id: ItemId) -> _Context:
        context = self._by_item.get(item_id)
        if context is None:
            self._number += 1
            context = _Context(f"answer-{self._number}", item_id)
            self._by_item[item_id] = self._by_id[context.id] = context
        return context

    def _add(self, context: _Context, clauses: list[Clause], now: float) -> None:
        if clauses:
            context.clauses += clauses
            if not context.is_awaited:
                context.changed_at = now
            self._send(context, now)

    def _send(self, context: _Context, now: float) -> None:
        if context.clauses and not context.is_open:
            if len(self._ghosts) + sum(each.is_open for each in self._by_item.values()) >= CONTEXTS:
                return
            context.is_open = True
            self._out.append(protocol.begin_context(context.id))
        while context.clauses:
            clause = context.clauses.popleft()
            self._out.append(protocol.speak(context.id, clause.text, flush=True))
            self.characters += len(clause.text)
            context.places += [(context.sent_sounds + sounds, chars) for sounds, chars in clause.places]
            context.sent_sounds += clause.sounds
            context.input_at = context.sent_at = now

    def _close_if_sent(self, context: _Context, now: float) -> None:
        if context.is_complete and context.is_open and not context.clauses and not context.is_closing:
            context.is_closing, context.input_at = True, now
            self._out.append(protocol.close_context(context.id))

    def _open_waiting(self, now: float) -> None:
        """Send the clauses that wait, while contexts are free."""
        for context in list(self._by_item.values()):
            if context.clauses:
                context.changed_at = now
                self._send(context, now)
                self._close_if_sent(context, now)

    # From the service

    def received(self, raw: bytes, now: float) -> None:
        """Handle a message of the service."""
        if self.is_lost:
            return
        try:
            message = protocol.read(raw)
        except VoiceProtocolError:
            self.bad_messages += 1
            return
        self.unknown_keys += message.unknown_keys
        if message.error:
            refused = protocol.refused(message.error, message.words)
            self.lose(refused.fault, str(refused), refused.do)
            return
        context = self._by_id.get(message.context_id)
        if context is None:
            self.late_audio += bool(message.audio)
        elif message.audio:
            self._sounds(context, message, now)
        if message.is_final and not self.is_lost:
            self._ended(message.context_id, now)

    def _sounds(self, context: _Context, message: Message, now: float) -> None:
        if wrong := trouble(message.audio, is_first=context.bytes == 0):
            self.lose(VoiceFault.BAD_AUDIO, f"ElevenLabs sent {wrong}")
            return
        if context.began_at is not None and context.is_awaited:
            context.holes_s += max(0.0, now - max(context.played_until, context.sent_at + FIRST_SOUND_S))
            if context.holes_s > HOLES_S:
                words = (
                    f"ElevenLabs sends sound more slowly than it plays: {context.holes_s:.1f} s of pauses in an answer"
                )
                self.lose(VoiceFault.SLOW, words)
                return
        # The first sound plays from now on. So does a sound that came too late to follow without a pause.
        if context.began_at is None or now > context.played_until:
            context.began_at = now - context.bytes / BYTES_PER_MS / 1000
        positions = self._positions(context, message.aligned) if message.aligned is not None else ()
        context.bytes += len(message.audio)
        context.changed_at = now
        self._events.append(Spoken(context.item_id, message.audio, positions))

    def _positions(self, context: _Context, aligned: Aligned) -> tuple[Position, ...]:
        """Which place of the text is spoken when, for this piece of sound.

        The service counts times from the beginning of the piece. A Position counts from the beginning of the item.
        """
        context.is_aligned = True
        before_ms = context.bytes / BYTES_PER_MS
        found: dict[int, Position] = {}
        for char, end_ms in zip(aligned.chars, aligned.ends_ms, strict=True):
            if char.isspace():
                continue
            context.heard_sounds += len(char)
            while context.places and context.places[0][0] <= context.heard_sounds:
                _, chars = context.places.popleft()
                found[chars] = Position(chars, before_ms + end_ms)
        return tuple(found.values())

    def _ended(self, context_id: str, now: float) -> None:
        """The last message of a context has come."""
        self._ghosts.pop(context_id, None)
        context = self._by_id.get(context_id)
        if context is not None:
            if context.is_closing:
                self._whole(context)
            # The service closed the context, although the text was not complete. The next text gets a new context.
            else:
                del self._by_id[context_id]
                self._number += 1
                context.id, context.is_open = f"answer-{self._number}", False
                self._by_id[context.id] = context
        self._open_waiting(now)

    def _whole(self, context: _Context) -> None:
        self._over.add(context.item_id)
        del self._by_item[context.item_id], self._by_id[context.id]
        self._events.append(SpokenWhole(context.item_id))
