"""Detects speech by its energy, with the settings of the real model's VAD.

Its clock is the received audio (docs/protocol/openai.md 2.2). While no audio comes, no speech starts or ends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW_MS = 10
# Three loud windows among the last five are speech. So speech is noticed after 30 to 50 ms, and a click is too short.
# Source: docs/protocol/openai.md 3.
ONSET_WINDOWS = 3
ONSET_OF = 5


@dataclass(frozen=True)
class Started:
    """Speech has begun. The place is in ms of the session's audio, minus the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True)
class Stopped:
    """Speech has ended. The place is in ms of the session's audio, and includes the silence that ended the speech."""

    audio_end_ms: int


class Vad:
    """A detector of a session. If the turn detection or the input format changes, a new detector is made."""

    def __init__(
        self, rate_hz: int, threshold: float = 0.5, prefix_ms: int = 300, silence_ms: int = 500, clock_ms: int = 0
    ) -> None:
        """A `threshold` from 0 to 1 means -55 to -30 dBFS.

        `clock_ms` is how much audio the session had received before this detector.
        """
        self._rms = 32768 * 10 ** ((-55 + 25 * threshold) / 20)
        self._window = rate_hz * WINDOW_MS // 1000
        self._prefix_ms, self._silence_ms = prefix_ms, silence_ms
        self._recent: deque[bool] = deque(maxlen=ONSET_OF)
        self._rest = np.empty(0, np.int16)
        self._quiet_ms = 0
        self.clock_ms = clock_ms
        self.speaking = False

    def feed(self, samples: npt.NDArray[np.int16]) -> list[Started | Stopped]:
        """Take further int16 samples. Returns the events that are in them, in order.

        If less than 10 ms is left at the end, the next call uses it.
        """
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._window * self._window
        self._rest = samples[whole:]
        windows = samples[:whole].reshape(-1, self._window).astype(np.float64)
        events: list[Started | Stopped] = []
        for loud in np.sqrt((windows**2).mean(axis=1)) > self._rms:
            self.clock_ms += WINDOW_MS
            event = self._while_speaking(bool(loud)) if self.speaking else self._while_silent(bool(loud))
            if event is not None:
                events.append(event)
        return events

    def _while_silent(self, loud: bool) -> Started | None:
        self._recent.append(loud)
        if sum(self._recent) < ONSET_WINDOWS:
            return None
        onset_ms = self.clock_ms - (len(self._recent) - self._recent.index(True)) * WINDOW_MS
        self.speaking, self._quiet_ms = True, 0
        self._recent.clear()
        return Started(max(0, onset_ms - self._prefix_ms))

    def _while_speaking(self, loud: bool) -> Stopped | None:
        self._quiet_ms = 0 if loud else self._quiet_ms + WINDOW_MS
        if self._quiet_ms < self._silence_ms:
            return None
        self.speaking = False
        return Stopped(self.clock_ms)
