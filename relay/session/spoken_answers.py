"""Has the model's text spoken by a voice service. The text goes to the voice, and the voice's sound to the machine.

The machine gets the same events as from a model that speaks. So two kinds of events wait here until their sound has
come. A function call waits until the words before it have begun to sound ("let me book that"). A response's end waits
until the response's last sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog
import trio

from relay.call.vocabulary import (
    CallSid,
    Event,
    FunctionAsked,
    ItemId,
    ModelFinished,
    ModelSpoke,
    ModelWorded,
    ResponseEnded,
    ResponseId,
    VoiceBilled,
    VoiceFailed,
)
from relay.realtime import protocol as model_dialect
from relay.session.warm_voices import WarmVoices
from relay.voices.voice import Spoken, SpokenWhole, Voice, VoiceEvent, VoiceFault, VoiceLost, VoiceUnavailable

log = structlog.get_logger()

MULAW_BYTES_PER_MS = 8
# How many seconds text may wait for a voice that is still being connected. After that, the voice counts as lost.
# voices/speaking.py waits equally long for sound.
VOICE_LIMIT_S = 0.6
# While the caller's turn is open, the voice gets no more text of an early answer (relay/call/early_answer.py) after
# this many characters: about four seconds of speech. A voice charges for each character, even if nobody hears the
# sound. The first sound does not come later because of this limit.
EARLY_CHARACTERS = 60


@dataclass(slots=True)
class _Item:
    """One message of the model on its way through the voice."""

    response_id: ResponseId
    said_bytes: int = 0
    sent_characters: int = 0
    is_written: bool = False  # True when the model has sent all of its text.
    text: list[str] = field(default_factory=list)  # Text that waits for the voice, or for the end of the caller's turn.
    # Sound that came while an earlier message was not spoken to its end.
    early: list[Spoken | SpokenWhole] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a response that was cut off.

    `waited`: the events that the machine did not get. `has_ended`: True if the model has already ended the response.
    """

    waited: list[Event]
    has_ended: bool


class SpokenAnswers:
    """Has the answers of one stream spoken.

    `wants` says whether an item may still be heard. `is_early` says whether a response answers an open turn.
    """

    def __init__(
        self,
        feed: Callable[[Event], None],
        wants: Callable[[ResponseId, ItemId], bool],
        sounds: Callable[[ResponseId, bytes], None],
        is_early: Callable[[ResponseId], bool] = lambda _: False,
    ) -> None:
        self._feed, self._wants, self._sounds, self._is_early = feed, wants, sounds, is_early
        self._voice: Voice | None = None
        self._items: dict[ItemId, _Item] = {}  # In the order in which the caller must hear them.
        # Function calls that wait for the sound of the words before them.
        self._asked: dict[ResponseId, list[FunctionAsked]] = {}
        self._ended: dict[ResponseId, ResponseEnded] = {}  # Ends of responses that wait for the last sound.
        self._billed = 0
        self._waits_since: float | None = None  # Since when text waits for the voice (Trio clock).
        self._is_lost = False

    async def run(self, voices: WarmVoices, call_sid: CallSid) -> None:
        """Read the voice until it is lost or this task is cancelled. Runs beside the OpenAI reader."""
        try:
            voice = await voices.claim(call_sid)
        except VoiceUnavailable as error:
            self._lose(error.fault, str(error), error.do)
            return
        try:
            if not self._is_lost:
                self._begin(voice)
                await voice.run(self._listen)
        finally:
            await voice.close()

    # From the model

    def takes(self, message: model_dialect.Message, event: Event | None) -> bool:
        """Handle a message if the voice has to do with it. Returns False if the call must handle the message itself.

        The voice has to do with the model's text, the ends of responses, and function calls that wait for sound.
        `event` is the machine's event for this message.
        """
        match message.type:
            case model_dialect.TEXT_DELTA:
                if isinstance(event, ModelWorded):
                    self._wrote(event)
            case model_dialect.TEXT_DONE:
                self._finish(ItemId(message.item_id or ""))
            case model_dialect.RESPONSE_DONE:
                if isinstance(event, ResponseEnded):
                    self._response_ended(event)
            case model_dialect.ITEM_DONE:
                if not isinstance(event, FunctionAsked) or not self._is_mute(event.response_id):
                    return False
                self._asked.setdefault(event.response_id, []).append(event)
            case _:
                return False
        return True

    def _is_mute(self, response_id: ResponseId) -> bool:
        """True while this response has words of which no sound has come yet."""
        return any(item.response_id == response_id and not item.said_bytes for item in self._items.values())

    def _wrote(self, event: ModelWorded) -> None:
        self._feed(event)
        if self._is_lost or not event.text or not self._wants(event.response_id, event.item_id):
            return
        item = self._items.setdefault(event.item_id, _Item(event.response_id))
        item.text.append(event.text)
        if self._voice is not None:
            self._say(self._voice, event.item_id, item)
        elif self._waits_since is None:
            self._waits_since = trio.current_time()

    def _say(self, voice: Voice, item_id: ItemId, item: _Item) -> None:
        """Give the waiting text to the voice. For an early answer, stop after EARLY_CHARACTERS."""
        if self._items.get(item_id) is not item:
            return  # The machine has cut this item off, while another item was billed.
        while item.text and not (item.sent_characters >= EARLY_CHARACTERS and self._is_early(item.response_id)):
            text = item.text.pop(0)
            item.sent_characters += len(text)
            voice.say(item_id, text)
        if item.is_written and not item.text:
            voice.finish(item_id)
        self._bill(item.response_id)

    def _finish(self, item_id: ItemId) -> None:
        item = self._items.get(item_id)
        if item is not None and not item.is_written:
            item.is_written = True
            if self._voice is not None:
                self._say(self._voice, item_id, item)

    def _response_ended(self, event: ResponseEnded) -> None:
        mine = [item_id for item_id, item in self._items.items() if item.response_id == event.response_id]
        for item_id in mine:
            self._finish(item_id)
        if any(item_id in self._items for item_id in mine):
            self._ended[event.response_id] = event
        else:
            self._feed(event)

    def _bill(self, response_id: ResponseId | None) -> None:
        """Tell the machine how many characters were sent to the voice. Each character costs money."""
        characters = self._voice.characters - self._billed if self._voice is not None else 0
        if characters:
            self._billed += characters
            self._feed(VoiceBilled(characters, response_id))

    # From the voice

    def _begin(self, voice: Voice) -> None:
        self._voice, self._waits_since = voice, None
        for item_id, item in [*self._items.items()]:
            self._say(voice, item_id, item)

    async def _listen(self, event: VoiceEvent) -> None:
        """The voice awaits this function for each of its events."""
        self._hear(event)

    def _hear(self, event: VoiceEvent) -> None:
        if isinstance(event, VoiceLost):
            self._lose(event.fault, event.words, event.do)
            return
        item = self._items.get(event.item_id)
        if item is None:
            return  # This item was cut off, so nobody may hear this sound.
        if event.item_id != next(iter(self._items)):
            item.early.append(event)
        elif isinstance(event, Spoken):
            self._spoke(event, item)
        else:
            self._spoke_whole(event.item_id, item)

    def _spoke(self, event: Spoken, item: _Item) -> None:
        item.said_bytes += len(event.mulaw)
        self._sounds(item.response_id, event.mulaw)
        said_ms = item.said_bytes / MULAW_BYTES_PER_MS
        self._feed(ModelSpoke(item.response_id, event.item_id, event.mulaw, said_ms, event.positions))
        self._let_functions_go(item.response_id)

    def _let_functions_go(self, response_id: ResponseId) -> None:
        if response_id in self._asked and not self._is_mute(response_id):
            for asked in self._asked.pop(response_id):
                self._feed(asked)

    def _spoke_whole(self, item_id: ItemId, item: _Item) -> None:
        del self._items[item_id]
        self._bill(item.response_id)  # `finish` may have sent more text to the voice.
        self._feed(ModelFinished(item.response_id, item_id, b""))
        self._let_functions_go(item.response_id)
        if all(other.response_id != item.response_id for other in self._items.values()):
            ended = self._ended.pop(item.response_id, None)
            if ended is not None:
                self._feed(ended)
        if self._items:
            following = next(iter(self._items.values()))
            early, following.early = following.early, []
            for event in early:
                self._hear(event)

    def _lose(self, fault: VoiceFault, words: str, do: str) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        hears = "a pause or a request to wait; then the rest of the answer in the model's own voice"
        log.error("voice.lost", fault=str(fault), words=words, caller_hears=hears, **({"do": do} if do else {}))
        self._bill(None)
        self._items.clear()
        self._feed(VoiceFailed(str(fault)))
        for waited in self.forget():
            self._feed(waited)

    # From the call

    def cut(self, response_id: ResponseId) -> Cut:
        """Stop speaking this response.

        Returns the events that the machine did not get.
        """
        for item_id in [each for each, item in self._items.items() if item.response_id == response_id]:
            self._drop(item_id)
        waited: list[Event] = [*self._asked.pop(response_id, ())]
        ended = self._ended.pop(response_id, None)
        if ended is not None:
            waited.append(replace(ended, status="cancelled", detail="cut off while it was spoken"))
        return Cut(waited, ended is not None)

    def forget(self) -> list[Event]:
        """The model session, the voice or the stream has ended, so the answers are not spoken any more.

        Returns the events that the machine did not get.
        """
        for item_id in [*self._items]:
            self._drop(item_id)
        asked, self._asked = self._asked, {}
        ended, self._ended = [*self._ended.values()], {}
        waited: list[Event] = [each for some in asked.values() for each in some]
        return [*waited, *(replace(each, status="incomplete", detail="not spoken to its end") for each in ended)]

    def _drop(self, item_id: ItemId) -> None:
        del self._items[item_id]
        if self._voice is not None:
            self._voice.cut(item_id)

    def tick(self, now: float) -> None:
        """Called again and again by the watchdog."""
        if self._voice is not None:
            for item_id, item in [*self._items.items()]:
                if item.text:
                    self._say(self._voice, item_id, item)
            self._voice.tick()
        elif self._waits_since is not None and now - self._waits_since > VOICE_LIMIT_S:
            self._lose(VoiceFault.UNREACHABLE, "the voice was not connected when it had to speak the first answer", "")
