"""Prepares caller audio for the model: fills gaps, measures levels, makes appends. Keeps it while there is no model."""

from __future__ import annotations

from collections.abc import Iterable

import dsp
from relay.call.gap_filling import Gaps
from relay.realtime import protocol as model_dialect
from relay.twilio.media_protocol import Frame

# The caller audio that may wait for a model: 10 s, 80 kB. Beyond that, the oldest is dropped.
WAITING_LIMIT_BYTES = 80_000
FRAME_BYTES = 160
MULAW_BYTES_PER_MS = 8


def silence(ms: int) -> bytes:
    """Mu-law silence of this length (G.711: 0xFF is zero)."""
    return b"\xff" * (ms * MULAW_BYTES_PER_MS)


# Pieces of caller audio: the length in ms of each, and its level in dBFS.
Levels = list[tuple[int, float]]


class CallerAudio:
    """The caller's audio of one stream, over all its model sessions."""

    def __init__(self) -> None:
        self.gaps = Gaps()
        self._line = dsp.Uplink()
        self._waiting = bytearray()

    def pieces(self, frames: Iterable[Frame], now: float, *, paired: bool) -> list[bytes]:
        """Mu-law in pieces, with gaps filled. Each piece is measured, so a cough in a burst does not look like speech.

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

    def hear(self, frames: Iterable[Frame], now: float, *, paired: bool, append: bool) -> tuple[Levels, bytes, bytes]:
        """Measure what came together. Returns the levels of its pieces, the whole audio (mu-law), and a message.

        The message appends the audio to the model's input. The message is made only if `append` is set, in the same
        step.
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
        """Keep audio for the next model. Returns how many milliseconds were dropped to make room."""
        self._waiting += mulaw
        excess = max(0, len(self._waiting) - WAITING_LIMIT_BYTES)
        del self._waiting[:excess]
        return excess / MULAW_BYTES_PER_MS

    @property
    def is_waiting(self) -> bool:
        """True while audio waits for a model or for its socket. New audio goes after it."""
        return bool(self._waiting)

    def take(self) -> bytes:
        """The audio that waited (mu-law). After this, none waits."""
        waiting, self._waiting = bytes(self._waiting), bytearray()
        return waiting

    def begin(self) -> bytes:
        """A model has come. Returns the audio that waited (mu-law). The model gets this audio first."""
        self._line.reset()
        return self.take()
