"""Notes how loud the audio for the caller is and when it plays, to know how loud its echo may be.

A hands-free phone sends the agent's words back 50 to 300 ms later, and 10 to 30 dB quieter. For each caller frame,
`Machine.caller_audio` asks `Echo.level_dbfs` how loud the words were whose echo may arrive now. level_vad.py then
decides whether the frame is louder than this echo.
"""

from __future__ import annotations

import math
from collections import deque

import dsp

# An echo of the network or of a room comes 50 to 300 ms after the sound was played. These limits are wider by a frame
# or two on both sides.
SOONEST_S = 0.030
LATEST_S = 0.340
# The level is noted for pieces of 100 ms. That is shorter than a syllable, and long enough for a stable level.
PIECE_BYTES = 800
BYTES_PER_S = 8_000
NOTHING_DBFS = -100.0
# Nobody hears a sound below this level. A model's silence is digital zero. Soft words on a phone line are above -45
# dBFS.
AUDIBLE_DBFS = -60.0


class Echo:
    """The levels of our audio that the caller heard lately, or will hear."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, float, float]] = deque()  # The pieces in order: from_s, to_s, level_dbfs.
        # The newest result of `level_dbfs`, and from when to when it is valid.
        self._loudest, self._from_s, self._to_s = NOTHING_DBFS, 0.0, 0.0

    def sent(self, mulaw: bytes, from_s: float) -> float | None:
        """Note audio that will play from `from_s` on (Trio clock).

        Returns when its last audible piece ends. None if no piece is audible.
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
        """The audio that was not played before `now` was dropped. Forget its levels."""
        self._to_s = self._from_s
        while self._pieces and self._pieces[-1][0] >= now:
            self._pieces.pop()
        if self._pieces and self._pieces[-1][1] > now:
            since_s, _, level_dbfs = self._pieces.pop()
            self._pieces.append((since_s, now, level_dbfs))

    def level_dbfs(self, now: float, lag_s: float = 0.0) -> float:
        """The level of the loudest piece whose echo may come at `now`. `lag_s` is the time to Twilio and back."""
        played_s = now - lag_s
        if self._from_s <= played_s < self._to_s:
            return self._loudest
        since_s, until_s = played_s - LATEST_S, played_s - SOONEST_S
        while self._pieces and self._pieces[0][1] <= since_s:
            self._pieces.popleft()
        # The result is valid until the oldest piece is too old, or until the echo of the next piece may arrive. While
        # audio plays, it is valid for about four frames.
        self._loudest, self._from_s = NOTHING_DBFS, played_s
        self._to_s = self._pieces[0][1] + LATEST_S if self._pieces else math.inf
        for from_s, _, level_dbfs in self._pieces:
            if from_s >= until_s:
                self._to_s = min(self._to_s, from_s + SOONEST_S)
                break
            self._loudest = max(self._loudest, level_dbfs)
        return self._loudest
