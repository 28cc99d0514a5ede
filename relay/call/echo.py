"""The echo of our voice that may come back from the caller's phone: the levels that were sent, and when they played.

A hands-free phone returns the agent's words 50 to 300 ms later, and 10 to 30 dB quieter. We know exactly what we send.
So we also know what may come back. For each caller frame, `Machine.caller_audio` asks here how loud the echo may be.
The answer goes to level_vad.py. A loud frame is the caller's voice only if the frame is louder than the echo.
"""

from __future__ import annotations

import math
from collections import deque

import dsp

# Echo from the network or a room comes 50 to 300 ms after the sound was played. These limits add a frame on both sides.
SOONEST_S = 0.030
LATEST_S = 0.340
# Levels are kept for pieces of this length. This length is shorter than a syllable, and enough for a stable level.
PIECE_BYTES = 800
BYTES_PER_S = 8_000
NOTHING_DBFS = -100.0
# Below this level nobody hears anything. A model's silence is digital zero. Soft words on a phone line are above -45.
AUDIBLE_DBFS = -60.0


class Echo:
    """The levels of what the caller hears of us, piece by piece."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, float, float]] = deque()  # Each is (from_s, to_s, level_dbfs). In order.
        # The loudest piece that was found, and the time in which this result is valid.
        self._loudest, self._from_s, self._to_s = NOTHING_DBFS, 0.0, 0.0

    def sent(self, mulaw: bytes, from_s: float) -> float | None:
        """Note audio that is played from `from_s` on (Trio clock).

        Returns when its last audible part ends. None if no part is audible.
        """
        self._to_s = self._from_s
        audible_until_s = None
        for start in range(0, len(mulaw), PIECE_BYTES):
            piece = mulaw[start : start + PIECE_BYTES]
            since_s = from_s + start / BYTES_PER_S
            until_s, level_dbfs = since_s + len(piece) / BYTES_PER_S, dsp.level_dbfs(piece)
            self._pieces.append((since_s, until_s, level_dbfs))
            if level_dbfs > AUDIBLE_DBFS:
                audible_until_s = until_s
        return audible_until_s

    def cleared(self, now: float) -> None:
        """Audio that was not played by `now` will never be played."""
        self._to_s = self._from_s
        while self._pieces and self._pieces[-1][0] >= now:
            self._pieces.pop()
        if self._pieces and self._pieces[-1][1] > now:
            since_s, _, level_dbfs = self._pieces.pop()
            self._pieces.append((since_s, now, level_dbfs))

    def level_dbfs(self, now: float, lag_s: float = 0.0) -> float:
        """The level of the loudest piece that may come back at `now`. `lag_s` is the way to Twilio and back."""
        played_s = now - lag_s
        if self._from_s <= played_s < self._to_s:
            return self._loudest
        since_s, until_s = played_s - LATEST_S, played_s - SOONEST_S
        while self._pieces and self._pieces[0][1] <= since_s:
            self._pieces.popleft()
        # The result is valid until its first piece is too old, or the next piece begins: about four frames.
        self._loudest, self._from_s = NOTHING_DBFS, played_s
        self._to_s = self._pieces[0][1] + LATEST_S if self._pieces else math.inf
        for from_s, _, level_dbfs in self._pieces:
            if from_s >= until_s:
                self._to_s = min(self._to_s, from_s + SOONEST_S)
                break
            self._loudest = max(self._loudest, level_dbfs)
        return self._loudest
