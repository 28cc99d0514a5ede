"""Who talks when: stretches of sound found in mu-law audio, 20 ms at a time.

Pure. Used for the caller's ear (has the agent finished?) and for the report (latency, silences).
"""

from __future__ import annotations

from relay.standin.speech.audio_files import RATE_HZ
from relay.standin.twilio.playback import Playback, samples_at

BLOCK = 160
"""Samples in 20 ms."""

LOUD_ABOVE = 512
"""Linear amplitude (of 32,124) that counts as sound: -36 dBFS, well above line noise, well below the softest speech."""

LOUD_SHARE = 16
"""So many of the 160 samples must be loud: a click is not speech."""

JOIN_S = 0.5
"""Pauses between words and phrases of one speaker; longer silence ends a stretch."""


def _magnitude(byte: int) -> int:
    """The linear amplitude of one mu-law byte (G.711: 14 bits scaled to 16)."""
    code = ~byte & 0x7F
    return (((code & 0x0F) << 3) + 0x84 << (code >> 4)) - 0x84


_IS_LOUD = bytes(_magnitude(byte) > LOUD_ABOVE for byte in range(256))


def is_loud(mulaw: bytes) -> bool:
    """Whether a block of mu-law audio holds sound rather than silence or line noise."""
    return mulaw.translate(_IS_LOUD).count(1) * BLOCK >= LOUD_SHARE * len(mulaw) > 0


def loud_span_ms(mulaw: bytes) -> tuple[float, float]:
    """Where the sound in a clip begins and ends, in ms; (0, 0) for silence."""
    loud = [at for at in range(0, len(mulaw), BLOCK) if is_loud(mulaw[at : at + BLOCK])]
    if not loud:
        return 0.0, 0.0
    return loud[0] * 1000 / RATE_HZ, min(loud[-1] + BLOCK, len(mulaw)) * 1000 / RATE_HZ


class Listener:
    """Follows a playback and keeps the stretches in which something was to be heard."""

    def __init__(self, playback: Playback, from_s: float) -> None:
        self._playback = playback
        self._scanned = samples_at(from_s)
        self.stretches: list[tuple[float, float]] = []

    def listen(self, now: float) -> None:
        """Take in what was played up to `now`. Audio already played never changes, so each block is read once."""
        end = samples_at(now)
        while self._scanned + BLOCK <= end:
            if is_loud(self._playback.read(self._scanned, BLOCK)):
                self.sound(self._scanned / RATE_HZ, (self._scanned + BLOCK) / RATE_HZ)
            self._scanned += BLOCK

    def sound(self, from_s: float, to_s: float) -> None:
        """Add a piece of sound; joined with the stretch before when the pause between is short."""
        if self.stretches and from_s - self.stretches[-1][1] <= JOIN_S:
            first, last = self.stretches[-1]
            self.stretches[-1] = (first, max(last, to_s))
        else:
            self.stretches.append((from_s, to_s))
