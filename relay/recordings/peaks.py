"""Finds the peaks of a recording, for its waveform: the loudest sample of each step, in each channel. Pure.

A peak is one byte on mu-law's own scale: 0 is silence, 127 is the loudest, and a difference of 16 is 6 dB. Peaks are
stored as pairs (left, right), at most 4 kB for each recording. So in a recording of more than 100 s, each pair covers
more than 50 ms.
"""

from __future__ import annotations

import numpy as np

from relay.recordings.timeline import RATE_HZ

STEP_SAMPLES = 400  # 50 ms while the recording goes on: a chunk of 250 ms has five steps.
LIMIT = 2_000  # The largest number of pairs in a result.

# The peak of each mu-law code. Silence (0xFF or 0x7F) becomes 0, and the loudest sample (0x80 or 0x00) becomes 127.
_HEIGHT = np.array([127 - (code & 0x7F) for code in range(256)], np.uint8)


class Peaks:
    """Gathers the peaks of one recording. Chunks come in order.

    Only the last chunk may have a length that is no multiple of a step.
    """

    def __init__(self) -> None:
        self._pairs: list[bytes] = []

    def add(self, stereo: bytes) -> None:
        """Add the next chunk: left byte, right byte and so on."""
        heights = _HEIGHT[np.frombuffer(stereo, np.uint8)].reshape(-1, 2)
        if missing := -len(heights) % STEP_SAMPLES:
            heights = np.concatenate([heights, np.zeros((missing, 2), np.uint8)])
        self._pairs.append(heights.reshape(-1, STEP_SAMPLES, 2).max(axis=1).tobytes())

    def result(self) -> tuple[int, bytes]:
        """How much time each pair covers, in ms, and the pairs."""
        pairs = np.frombuffer(b"".join(self._pairs), np.uint8).reshape(-1, 2)
        step_ms = STEP_SAMPLES * 1000 // RATE_HZ
        while len(pairs) > LIMIT:
            if len(pairs) % 2:
                pairs = np.concatenate([pairs, np.zeros((1, 2), np.uint8)])
            pairs, step_ms = pairs.reshape(-1, 2, 2).max(axis=1), step_ms * 2
        return step_ms, pairs.tobytes()
