"""The sentences of the callers of bench.turns: the shipped clips of callers (piper's "joe"), with and without a pause.

A pause is silence that is inserted at a quiet place between two words, at least 400 ms from the clip's first and last
sound. In the recording the speaker did not pause. So the words before the pause may sound more finished than before a
real pause.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import dsp
from relay.standin.speech.voice import clips

FRAME_BYTES = 160
FRAME_MS = 20
QUIET = bytes([0xFF, 0x7F]) * (FRAME_BYTES // 2)
# Pauses in speech are mostly 250 to 1,000 ms long.
PAUSES_MS = (300, 500, 700, 900)
WITH_A_PAUSE = 0.5
EDGE_MS = 400
LOUD_DBFS = -45.0
NOT_SPOKEN = ("cough", "mm_hmm", "hello")


@dataclass(frozen=True, slots=True)
class Say:
    """One turn: frames of mu-law, the index of the last loud frame, and the length of the pause (0 without a pause)."""

    frames: tuple[bytes, ...]
    last_loud: int
    pause_ms: int


def _frames(mulaw: bytes) -> list[bytes]:
    whole = len(mulaw) // FRAME_BYTES * FRAME_BYTES
    return [mulaw[at : at + FRAME_BYTES] for at in range(0, whole, FRAME_BYTES)]


def _loud(frames: list[bytes]) -> list[int]:
    return [at for at, frame in enumerate(frames) if dsp.level_dbfs(frame) > LOUD_DBFS]


def _quiet_places(frames: list[bytes]) -> list[int]:
    """The places where two words can be separated: the quietest frame of the 220 ms around it, away from both ends."""
    loud = _loud(frames)
    first, last = loud[0] + EDGE_MS // FRAME_MS, loud[-1] - EDGE_MS // FRAME_MS
    levels = [dsp.level_dbfs(frame) for frame in frames]
    places = [at for at in range(first, last) if levels[at] == min(levels[max(0, at - 5) : at + 6])]
    return [at for at in places if levels[at] < max(levels) - 15]


def turns(seed: str) -> Iterator[Say]:
    """Endless turns. The same seed gives the same turns."""
    chance = random.Random(seed)
    spoken = [
        _frames(clip.mulaw) for clip in clips().values() if clip.speaker == "caller" and clip.id not in NOT_SPOKEN
    ]
    while True:
        frames = chance.choice(spoken)
        places = _quiet_places(frames)
        pause_ms = chance.choice(PAUSES_MS) if places and chance.random() < WITH_A_PAUSE else 0
        if pause_ms:
            at = chance.choice(places)
            frames = frames[:at] + [QUIET] * (pause_ms // FRAME_MS) + frames[at:]
        yield Say(tuple(frames), _loud(frames)[-1], pause_ms)
