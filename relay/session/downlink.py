"""The model's audio on its way to playout: deltas in base64 to mu-law, item by item; and the greeting, to be kept."""

from __future__ import annotations

import pybase64

import dsp
from relay.call.vocabulary import ItemId, ModelFinished, ModelSpoke, ResponseEnded, ResponseId

PCM24K_BYTES_PER_MS = 48


class AnswerAudio:
    """The answers of one stream: one item sounds at a time."""

    def __init__(self) -> None:
        self._line = dsp.Downlink()
        self._item = ""
        self._response_id = ResponseId("")
        self._item_bytes = 0  # of PCM, as the model sent it
        self._greeting: tuple[ResponseId, bytearray] | None = None  # spoken live, learned for the next call

    def spoke(
        self, response_id: ResponseId, item: ItemId, delta: str, *, is_greeting: bool
    ) -> list[ModelFinished | ModelSpoke]:
        """A delta: base64 of PCM16 at 24 kHz, of any length. Raises ValueError where it is not base64.

        Before it, the end of the item that sounded until now, if it has none yet: a long answer may come in several
        messages, and the ends of all behind the last [Realtime, gpt-realtime-2].
        """
        pcm24k = pybase64.b64decode(delta, validate=True)
        events: list[ModelFinished | ModelSpoke] = []
        if item != self._item:
            if self._item:
                events.append(self.finished(self._response_id, ItemId(self._item)))
            self._item, self._response_id, self._item_bytes = item, response_id, 0
        mulaw = self._line.feed(pcm24k)
        self._item_bytes += len(pcm24k)
        if is_greeting:
            self._keep(response_id, mulaw)
        return [*events, ModelSpoke(response_id, item, mulaw, self._item_bytes / PCM24K_BYTES_PER_MS)]

    def dropped(self) -> None:
        """A delta was not wanted any more: the greeting, if it is that, was cut off and is not all here."""
        self._greeting = None

    def finished(self, response_id: ResponseId, item: ItemId) -> ModelFinished:
        """The item's audio is complete: the filter's tail ends it."""
        tail = b""
        if item == self._item:
            tail = self._line.flush()
            self._line.reset()
            self._item = ""
        if self._greeting is not None:
            self._keep(response_id, tail)
        return ModelFinished(response_id, item, tail)

    def greeting_of(self, ended: ResponseEnded) -> bytes | None:
        """The whole greeting, if this response was it. Not sooner: its transcript may end after its audio."""
        live, self._greeting = self._greeting, None
        if live is None or live[0] != ended.response_id or ended.status != "completed":
            return None
        return bytes(live[1])

    def _keep(self, response_id: ResponseId, mulaw: bytes) -> None:
        if self._greeting is None:
            self._greeting = (response_id, bytearray())
        if self._greeting[0] == response_id:
            self._greeting[1].extend(mulaw)
