"""The audio of the load: frames and deltas that are made in advance.

Some of them contain a marker, so that the load can measure latency. A marker is 20 ms of constant samples (-1.4 dBFS)
between quieter audio. Resampling does not destroy it. `has_marker` finds it in mu-law and in PCM, however the relay
cuts, joins or converts the audio.
"""

from __future__ import annotations

import array

import pybase64

import dsp

LOUD = 28_000
THRESHOLD = 16_000
# The caller's voice: a square wave of 500 Hz at about -21 dBFS. The relay takes it for a voice. `has_marker` does
# not take it for a marker.
SPEECH_LEVEL = 3_000
QUIET_LEVEL = 12  # Line noise, -69 dBFS.
FRAME_MS = 20
DELTA_MS = 250
ANSWER_MS = 2_000


def _square(level: int, ms: int, rate_hz: int) -> bytes:
    half = rate_hz // 1000
    samples = array.array("h", [level if at // half % 2 == 0 else -level for at in range(ms * rate_hz // 1000)])
    return samples.tobytes()


def _mulaw(pcm8k: bytes) -> bytes:
    import numpy as np

    return dsp.encode(np.frombuffer(pcm8k, np.int16))


def _constant(ms: int, rate_hz: int) -> bytes:
    return array.array("h", [LOUD]).tobytes() * (ms * rate_hz // 1000)


# Caller frames: base64 of mu-law.
QUIET = pybase64.b64encode(_mulaw(_square(QUIET_LEVEL, FRAME_MS, 8000)))
SPEECH = pybase64.b64encode(_mulaw(_square(SPEECH_LEVEL, FRAME_MS, 8000)))
MARKER = pybase64.b64encode(_mulaw(_constant(FRAME_MS, 8000)))

# The mu-law codes that are as loud as a marker, and all others.
_LOUD_CODES = {code for code in range(256) if abs(int(dsp.decode(bytes([code]))[0])) >= THRESHOLD}
_OTHER_CODES = bytes(code for code in range(256) if code not in _LOUD_CODES)


class Deltas:
    """The deltas of an answer, in base64, in one format. `first` begins with a marker, and `plain` has no marker."""

    def __init__(self, kind: str) -> None:
        rate_hz = 8000 if kind == "audio/pcmu" else 24_000
        speech = _square(SPEECH_LEVEL, DELTA_MS, rate_hz)
        marked = _constant(FRAME_MS, rate_hz) + speech[2 * rate_hz * FRAME_MS // 1000 :]
        if kind == "audio/pcmu":
            speech, marked = _mulaw(speech), _mulaw(marked)
        self.plain = pybase64.b64encode(speech)
        self.first = pybase64.b64encode(marked)
        self.bytes_per_ms = 8 if kind == "audio/pcmu" else 48


DELTAS = {kind: Deltas(kind) for kind in ("audio/pcm", "audio/pcmu")}


def has_marker(payload: bytes, kind: str) -> bool:
    """True if this base64 audio contains a part of a marker. "audio/pcm" has 16 bits a sample."""
    audio = pybase64.b64decode(payload)
    if kind == "audio/pcmu":
        return bool(audio.translate(None, _OTHER_CODES))
    return bool(audio) and max(memoryview(audio[: len(audio) & ~1]).cast("h")) >= THRESHOLD
