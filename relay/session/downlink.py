"""Converts the model's audio for the playout: base64 deltas become mu-law, item by item.

It also stores the sound of a live greeting.
"""

from __future__ import annotations

import pybase64

import dsp
from relay.call.vocabulary import ItemId, ModelFinished, ModelSpoke, ResponseId

PCM24K_BYTES_PER_MS = 48


class AnswerAudio:
    """Converts the answers of one stream, one item at a time. The machine decides which of this audio is played."""

    def __init__(self) -> None:
        self._line = dsp.Downlink()
        self._item = ""
        self._response_id = ResponseId("")
        self._item_bytes = 0  # Bytes of PCM in the present item.
        self._last: tuple[str, int] = ("", 0)  # The last item that has ended, and its bytes of PCM.
        # The response that is a live greeting, and its sound so far.
        self._kept: tuple[ResponseId, bytearray] | None = None

    def spoke(self, response_id: ResponseId, item: ItemId, delta: str) -> list[ModelFinished | ModelSpoke]:
        """Convert a delta: base64 of PCM16 at 24 kHz, of any length. Raises ValueError if it is not base64.

        If the earlier item has not ended yet, its end is returned first. A long answer may have several items, and
        gpt-realtime-2 sends all their end messages after the last item. An item that has ended may continue.
        """
        pcm24k = pybase64.b64decode(delta, validate=True)
        events: list[ModelFinished | ModelSpoke] = []
        if item != self._item:
            if self._item:
                events.append(self.finished(self._response_id, ItemId(self._item)))
            last, last_bytes = self._last
            self._item, self._response_id = item, response_id
            self._item_bytes = last_bytes if item == last else 0
        mulaw = self._line.feed(pcm24k)
        self._item_bytes += len(pcm24k)
        self.sounds(response_id, mulaw)
        return [*events, ModelSpoke(response_id, item, mulaw, self._item_bytes / PCM24K_BYTES_PER_MS)]

    def finished(self, response_id: ResponseId, item: ItemId) -> ModelFinished:
        """All audio of the item has come. Returns the last samples, which the filter still held.

        There are no samples if `spoke` has ended this item already, because the next item began.
        """
        tail = b""
        if item == self._item:
            tail = self._line.flush()
            self._line.reset()
            self._last, self._item = (item, self._item_bytes), ""
        self.sounds(response_id, tail)
        return ModelFinished(response_id, item, tail)

    def keep(self, response_id: ResponseId) -> None:
        """Store the sound of this response from now on, because the response is the greeting."""
        self._kept = (response_id, bytearray())

    def kept(self, response_id: ResponseId) -> bytes | None:
        """Return the stored sound if it belongs to this response. The sound is forgotten, whether it belongs or not."""
        kept, self._kept = self._kept, None
        return bytes(kept[1]) if kept is not None and kept[0] == response_id else None

    def sounds(self, response_id: ResponseId, mulaw: bytes) -> None:
        """Store this sound of a response, if the response is the greeting.

        The sound comes from the model or from another voice.
        """
        if self._kept is not None and self._kept[0] == response_id:
            self._kept[1].extend(mulaw)
