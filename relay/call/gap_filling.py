"""Gaps in the caller's audio: how much silence replaces audio that is missing, and how late the other audio comes.

Twilio's timestamps step by about 20 ms, but not exactly. The timestamps jump where audio was lost or muted. The model's
VAD counts bytes of audio. So without this silence, a turn before a gap would never end. openai-agents-js does the same.
"""

from __future__ import annotations

# In captures, steps of Twilio's timestamps were 0 to 19 ms off. A gap of more than three frames is no jitter.
JITTER_MS = 60
# Ten seconds of silence end any turn, so more is not needed.
LONGEST_PAD_MS = 10_000
# If no audio comes for this long while the caller speaks, one second of silence is put in. openai-agents-js does the
# same.
IDLE_BEFORE_PAD_S = 0.750
IDLE_PAD_MS = 1_000
# Two clocks differ by less than a millisecond in a second. So a delay that grows more slowly than this is clock drift,
# and not lateness.
DRIFT_S_PER_S = 0.001
# More than this is not lateness either: audio was lost, and measuring begins again.
LOST_S = 2.0


class Gaps:
    """The caller's media clock of one stream."""

    def __init__(self) -> None:
        self._expected_ms: float | None = None
        self._last_at = 0.0
        self._ahead_ms = 0  # Silence that was given in advance for audio whose timestamp has not come yet.
        self.padded_ms = 0
        self.lost_ms = 0

    def before(self, media_ms: int, length_ms: int, now: float) -> int:
        """Milliseconds of silence to put before audio with this timestamp. Nearly always 0."""
        expected, self._expected_ms, self._last_at = self._expected_ms, media_ms + length_ms, now
        if expected is None or media_ms - expected <= JITTER_MS:
            self._ahead_ms = 0
            return 0
        missing = min(LONGEST_PAD_MS, int(media_ms - expected) // 20 * 20)
        self.lost_ms += missing
        pad = max(0, missing - self._ahead_ms)
        self._ahead_ms = 0
        self.padded_ms += pad
        return pad

    def while_idle(self, now: float, caller_speaks: bool) -> int:
        """Milliseconds of silence to put in, because no audio comes while the caller speaks."""
        if not caller_speaks or self._expected_ms is None or now - self._last_at < IDLE_BEFORE_PAD_S:
            return 0
        if self._ahead_ms >= LONGEST_PAD_MS:
            return 0
        self._last_at = now
        self._ahead_ms += IDLE_PAD_MS
        self.padded_ms += IDLE_PAD_MS
        return IDLE_PAD_MS


class Lateness:
    """How late caller audio comes, compared with the best so far.

    The cause is a burst on the line, or a stall of our loop. Marks come over the same socket, so they are late by the
    same time.
    """

    def __init__(self) -> None:
        self._media_s = 0.0
        self._first_s = 0.0
        self._best_s: float | None = None
        self.late_s = 0.0

    @property
    def ahead_s(self) -> float:
        """How much more audio has come than time has passed since the first frame.

        A phone cannot send faster than time.
        """
        return 0.0 if self._best_s is None else self._first_s - self._best_s

    def heard(self, ms: int, now: float) -> None:
        """`ms` of caller audio were read at `now`."""
        self._media_s += ms / 1000
        lag_s = now - self._media_s
        if self._best_s is None:
            self._first_s = lag_s
        if self._best_s is None or lag_s <= self._best_s or lag_s - self._best_s > LOST_S:
            self._best_s = lag_s
        else:
            self._best_s = min(lag_s, self._best_s + DRIFT_S_PER_S * ms / 1000)
        self.late_s = lag_s - self._best_s
