"""Finds the parts of mu-law audio that have sound, in blocks of 20 ms. Pure.

The stand-in caller notices with this code that the agent has finished. The report finds latencies and silences with it.
"""

from __future__ import annotations

from relay.standin.speech.audio_files import RATE_HZ
from relay.standin.twilio.playback import Playback, samples_at

BLOCK = 160
"""Samples in 20 ms."""

LOUD_ABOVE = 512
"""The linear amplitude (of 32,124) above which a sample is loud: -36 dBFS.

The noise of a line is far below this amplitude, and the softest speech is far above it.
"""

LOUD_SHARE = 16
"""A block has sound if this many of its 160 samples are loud. A click has fewer."""

JOIN_S = 0.5
"""The longest pause inside a part. A longer silence ends the part."""


def _magnitude(byte: int) -> int:
    """The linear amplitude of one mu-law byte (G.711: 14 bits scaled to 16)."""
    code = ~byte & 0x7F
    return (((code & 0x0F) << 3) + 0x84 << (code >> 4)) - 0x84


_IS_LOUD = bytes(_magnitude(byte) > LOUD_ABOVE for byte in range(256))


def is_loud(mulaw: bytes) -> bool:
    """True if a block of mu-law audio has sound, not only silence or noise of the line."""
    return mulaw.translate(_IS_LOUD).count(1) * BLOCK >= LOUD_SHARE * len(mulaw) > 0


def loud_span_ms(mulaw: bytes) -> tuple[float, float]:
    """Where the sound in a clip begins and ends, in ms. (0, 0) if the clip is silent."""
    loud = [at for at in range(0, len(mulaw), BLOCK) if is_loud(mulaw[at : at + BLOCK])]
    if not loud:
        return 0.0, 0.0
    return loud[0] * 1000 / RATE_HZ, min(loud[-1] + BLOCK, len(mulaw)) * 1000 / RATE_HZ


class Listener:
    """Follows a playback. `stretches` has the parts with sound, as (from, to) in seconds."""

    def __init__(self, playback: Playback, from_s: float) -> None:
        self._playback = playback
        self._scanned = samples_at(from_s)
        self.stretches: list[tuple[float, float]] = []

    def listen(self, now: float) -> None:
        """Read what was played up to `now`. Played audio never changes, so each block is read once."""
        end = samples_at(now)
        while self._scanned + BLOCK <= end:
            if is_loud(self._playback.read(self._scanned, BLOCK)):
                self.sound(self._scanned / RATE_HZ, (self._scanned + BLOCK) / RATE_HZ)
            self._scanned += BLOCK

    def sound(self, from_s: float, to_s: float) -> None:
        """Add a span of sound. If the pause before it is JOIN_S or less, it extends the last part."""
        if self.stretches and from_s - self.stretches[-1][1] <= JOIN_S:
            first, last = self.stretches[-1]
            self.stretches[-1] = (first, max(last, to_s))
        else:
            self.stretches.append((from_s, to_s))
