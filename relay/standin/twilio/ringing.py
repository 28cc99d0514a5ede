"""Makes the tone that a caller hears while a human's phone rings. Pure.

Twilio makes this tone, not the relay. It is the tone of the United States: 440 and 480 Hz together, two seconds on and
four seconds off.
"""

from __future__ import annotations

import functools

import numpy as np

import dsp
from relay.standin.speech.audio_files import RATE_HZ

TONES_HZ = (440, 480)
ON_S, CYCLE_S = 2, 6
EACH_DBFS = -24.0
SILENCE = 0xFF


def with_ringing(heard: bytes, from_s: float, spans: list[tuple[float, float]]) -> bytes:
    """Replace silence in mu-law audio with the tone, in these spans (seconds). The audio begins at `from_s`."""
    mixed = bytearray(heard)
    for begins_s, ends_s in spans:
        first = max(0, round((begins_s - from_s) * RATE_HZ))
        last = min(len(mixed), round((ends_s - from_s) * RATE_HZ))
        cycle = _cycle()
        for at in range(first, last):
            if mixed[at] == SILENCE:
                mixed[at] = cycle[(at - first) % len(cycle)]
    return bytes(mixed)


@functools.cache
def _cycle() -> bytes:
    seconds = np.arange(ON_S * RATE_HZ) / RATE_HZ
    loud = 32768 * 10 ** (EACH_DBFS / 20)
    tone = sum(np.sin(2 * np.pi * hz * seconds) for hz in TONES_HZ) * loud
    return dsp.encode(np.asarray(tone, np.float64).astype(np.int16)) + bytes([SILENCE]) * (CYCLE_S - ON_S) * RATE_HZ
