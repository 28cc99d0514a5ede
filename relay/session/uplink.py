"""The caller's audio on its way to the model: gaps are filled, and it waits while there is no model."""

from __future__ import annotations

from collections.abc import Iterable

import pybase64

import dsp
from relay.call.gap_filling import Gaps
from relay.realtime import protocol as model_dialect
from relay.twilio.media_protocol import Frame

# Audio that waits for a model that is being opened: 10 s, 80 kB. Then the oldest is dropped.
WAITING_LIMIT_BYTES = 80_000
FRAME_BYTES = 160
MULAW_BYTES_PER_MS = 8


def silence(ms: int) -> bytes:
    """Mu-law silence of this length (G.711: 0xFF is zero)."""
    return b"\xff" * (ms * MULAW_BYTES_PER_MS)


class CallerAudio:
    """The caller's audio of one stream, over all its model sessions."""

    def __init__(self) -> None:
        self.gaps = Gaps()
        self._line = dsp.Uplink()
        self._waiting = bytearray()

    def pieces(self, frames: Iterable[Frame], now: float, *, paired: bool) -> list[bytes]:
        """Mu-law in pieces to be measured, with gaps filled. So a cough in a burst does not look like speech.

        `paired`: two frames are one piece. This halves the measurements while the loop is behind.
        """
        audio: list[bytes] = []
        for frame in frames:
            pad_ms = self.gaps.before(frame.media_ms, len(frame.mulaw) // MULAW_BYTES_PER_MS, now)
            if pad_ms:
                audio.append(silence(pad_ms))
            if paired and audio and len(audio[-1]) <= FRAME_BYTES:
                audio[-1] += frame.mulaw
            else:
                audio.append(frame.mulaw)
        return audio

    def append(self, mulaw: bytes) -> bytes:
        """The message that appends this audio to the model's input."""
        return model_dialect.append_audio(pybase64.b64encode(self._line.feed(mulaw)))

    def keep(self, mulaw: bytes) -> float:
        """Keep audio for the next model. Returns the milliseconds that were dropped for it."""
        self._waiting += mulaw
        excess = max(0, len(self._waiting) - WAITING_LIMIT_BYTES)
        del self._waiting[:excess]
        return excess / MULAW_BYTES_PER_MS

    @property
    def is_waiting(self) -> bool:
        """True while audio waits for a model, or for its socket. New audio goes behind it."""
        return bool(self._waiting)

    def take(self) -> bytes:
        """What waited (mu-law). Nothing waits any more."""
        waiting, self._waiting = bytes(self._waiting), bytearray()
        return waiting

    def begin(self) -> bytes:
        """A model is there. Its audio begins with what waited (mu-law)."""
        self._line.reset()
        return self.take()
