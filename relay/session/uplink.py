"""Prepares caller audio for the model: fills gaps, measures levels, makes appends.

It keeps the audio while no model session can take it.
"""

from __future__ import annotations

from collections.abc import Iterable

import dsp
from relay.call.gap_filling import Gaps
from relay.realtime import protocol as model_dialect
from relay.twilio.media_protocol import Frame

# How much caller audio may wait for a model: 10 s, which is 80 kB. If there is more, the oldest is dropped.
WAITING_LIMIT_BYTES = 80_000
FRAME_BYTES = 160
MULAW_BYTES_PER_MS = 8


def silence(ms: int) -> bytes:
    """Mu-law silence of this length. In G.711, 0xFF is the sample value zero."""
    return b"\xff" * (ms * MULAW_BYTES_PER_MS)


# For each piece of caller audio: its length in ms and its level in dBFS.
Levels = list[tuple[int, float]]


class CallerAudio:
    """The caller's audio of one stream. It stays the same object when the model session changes."""

    def __init__(self) -> None:
        self.gaps = Gaps()
        self._line = dsp.Uplink()
        self._waiting = bytearray()

    def pieces(self, frames: Iterable[Frame], now: float, *, paired: bool) -> list[bytes]:
        """Split the frames into pieces of mu-law, and fill gaps with silence.

        Each piece is measured by itself. So a short cough in a burst of frames does not raise the level of the whole
        burst. `paired`: two frames are one piece. This halves the measurements while the loop is behind.
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

    def hear(self, frames: Iterable[Frame], now: float, *, paired: bool, append: bool) -> tuple[Levels, bytes, bytes]:
        """Measure frames that came together. Returns the pieces' levels, all audio (mu-law), and an append message.

        The append message is b"" unless `append` is set.
        """
        audio = self.pieces(frames, now, paired=paired)
        mulaw = audio[0] if len(audio) == 1 else b"".join(audio)
        if append and len(audio) == 1:  # This is the usual case. One frame needs fewer steps.
            pcm24k, level_dbfs = self._line.feed_measured(mulaw)
            return [(len(mulaw) // MULAW_BYTES_PER_MS, level_dbfs)], mulaw, model_dialect.append_audio(pcm24k)
        if not append:
            return [(len(one) // MULAW_BYTES_PER_MS, dsp.level_dbfs(one)) for one in audio], mulaw, b""
        done = [self._line.feed_measured(one) for one in audio]
        pcm24k = b"".join(pcm for pcm, _ in done)
        levels = [(len(one) // MULAW_BYTES_PER_MS, level) for one, (_, level) in zip(audio, done, strict=True)]
        return levels, mulaw, model_dialect.append_audio(pcm24k)

    def append(self, mulaw: bytes) -> bytes:
        """The message that appends this audio to the model's input."""
        return model_dialect.append_audio(self._line.feed(mulaw))

    def keep(self, mulaw: bytes) -> float:
        """Keep audio until a model can take it. Returns how many milliseconds were dropped to make room."""
        self._waiting += mulaw
        excess = max(0, len(self._waiting) - WAITING_LIMIT_BYTES)
        del self._waiting[:excess]
        return excess / MULAW_BYTES_PER_MS

    @property
    def is_waiting(self) -> bool:
        """True while audio waits for a model. New audio must then wait too, so that the order stays right."""
        return bool(self._waiting)

    def take(self) -> bytes:
        """Return the audio that waits (mu-law), and empty the buffer."""
        waiting, self._waiting = bytes(self._waiting), bytearray()
        return waiting

    def begin(self) -> bytes:
        """A new model session begins. Returns the audio that waits (mu-law), which this session must get first."""
        self._line.reset()
        return self.take()
