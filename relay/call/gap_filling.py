"""Says how much silence must fill a gap in the caller's audio, and measures how late caller audio comes.

Twilio's timestamps step by about 20 ms. They jump where audio was lost or muted. The model's VAD measures time by the
bytes of audio. So if a gap is not filled with silence, the VAD does not end the turn before the gap. openai-agents-js
fills gaps, too.
"""

from __future__ import annotations

# In captures, the steps of Twilio's timestamps were up to 19 ms too long or too short. So a jump is a gap only if it is
# longer than three frames.
JITTER_MS = 60
# At most this much silence is put into one gap. Ten seconds end any turn.
LONGEST_PAD_MS = 10_000
# If no audio comes for this long while the caller speaks, one second of silence is put in, as in openai-agents-js.
IDLE_BEFORE_PAD_S = 0.750
IDLE_PAD_MS = 1_000
# If the delay grows by less than this in a second, the reason is not lateness: Twilio's clock and our clock differ.
# Clocks differ by less than a millisecond in a second.
DRIFT_S_PER_S = 0.001
# If audio seems to be later than this, audio before it was lost. Then measuring begins again.
LOST_S = 2.0


class Gaps:
    """Finds the gaps in one stream, by Twilio's timestamps."""

    def __init__(self) -> None:
        self._expected_ms: float | None = None
        self._last_at = 0.0
        self._ahead_ms = 0  # Silence that was put in before the timestamp showed the gap.
        self.padded_ms = 0
        self.lost_ms = 0

    def before(self, media_ms: int, length_ms: int, now: float) -> int:
        """How much silence must come before audio with this timestamp, in milliseconds. It is nearly always 0."""
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
        """How much silence must be put in now, because no audio comes while the caller speaks. In milliseconds."""
        if not caller_speaks or self._expected_ms is None or now - self._last_at < IDLE_BEFORE_PAD_S:
            return 0
        if self._ahead_ms >= LONGEST_PAD_MS:
            return 0
        self._last_at = now
        self._ahead_ms += IDLE_PAD_MS
        self.padded_ms += IDLE_PAD_MS
        return IDLE_PAD_MS


class Lateness:
    """Measures how late caller audio comes, compared with the least delay so far.

    Audio is late after a stall of the line or of our event loop. Marks come on the same socket, so a mark is as late as
    the audio.
    """

    def __init__(self) -> None:
        self._media_s = 0.0
        self._first_s = 0.0
        self._best_s: float | None = None
        self.late_s = 0.0

    @property
    def ahead_s(self) -> float:
        """How many seconds of audio have come since the first frame, less the seconds that have passed.

        A phone cannot send faster than real time, so session/call_session.py ends a call in which this becomes large.
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
