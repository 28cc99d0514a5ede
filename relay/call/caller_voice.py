"""The caller's voice as a level: is somebody speaking, since when, and is it not just our own echo.

Only the *decision* to stop uses this; the model always gets the audio as it came.
Upstream: machine.py, with each caller frame.  Downstream: nothing.
"""

from __future__ import annotations

# Speech on a phone line lies at -15..-35 dBFS, line noise under -50 (espeak and piper over mu-law; measured).
QUIETEST_SPEECH_DBFS = -45.0
# Over the noise floor by this much counts as a voice: ordinary cars and offices stay under it.
ABOVE_NOISE_DB = 12.0
# Noise cannot raise the threshold beyond this, or a shouting caller in a loud place could never interrupt.
LOUDEST_THRESHOLD_DBFS = -25.0
NOISE_RISE_DB_PER_S = 3.0
# A run of speech survives pauses up to this long: stop consonants and breath between syllables.
BREAK_MS = 120
# Echo: assume a bad hands-free phone until the line has shown better; never believe better than -45 dB.
ECHO_RETURN_AT_FIRST_DB = -10.0
ECHO_RETURN_BEST_DB = -45.0
ECHO_MARGIN_DB = 6.0


class CallerVoice:
    """Level tracker of one call. Times are milliseconds of caller audio, not of the clock."""

    def __init__(self) -> None:
        self._noise_dbfs = -60.0
        self._echo_return_db = ECHO_RETURN_AT_FIRST_DB
        self.run_ms = 0  # length of the current run of speech, breaks included
        self.quiet_ms = BREAK_MS  # since its last loud frame
        self.loudest_dbfs = -100.0  # of the current run

    @property
    def threshold_dbfs(self) -> float:
        """What a frame must exceed to count as voice, echo aside."""
        return min(LOUDEST_THRESHOLD_DBFS, max(QUIETEST_SPEECH_DBFS, self._noise_dbfs + ABOVE_NOISE_DB))

    def is_candidate(self, level_dbfs: float) -> bool:
        """True if the frame is loud enough that its echo must be looked at."""
        return level_dbfs > self.threshold_dbfs

    def hear(self, level_dbfs: float, ms: int, echo_dbfs: float = -100.0) -> None:
        """Take in `ms` of caller audio at a level; `echo_dbfs` is what the caller heard of us, at our own level."""
        loud = self.is_candidate(level_dbfs)
        if loud and echo_dbfs > -60.0:
            gate_dbfs = echo_dbfs + self._echo_return_db + ECHO_MARGIN_DB
            loud = level_dbfs > gate_dbfs
        if echo_dbfs > -40.0 and not loud:
            self._learn_echo(level_dbfs - echo_dbfs)
        if loud:
            self.run_ms = ms if self.quiet_ms >= BREAK_MS else self.run_ms + self.quiet_ms + ms
            self.loudest_dbfs = level_dbfs if self.quiet_ms >= BREAK_MS else max(self.loudest_dbfs, level_dbfs)
            self.quiet_ms = 0
        else:
            self.quiet_ms += ms
            self._learn_noise(level_dbfs, ms)

    def _learn_noise(self, level_dbfs: float, ms: int) -> None:
        if level_dbfs < self._noise_dbfs:
            self._noise_dbfs = max(-70.0, level_dbfs)
        elif self.quiet_ms > BREAK_MS:
            self._noise_dbfs = min(level_dbfs, self._noise_dbfs + NOISE_RISE_DB_PER_S * ms / 1000)

    def _learn_echo(self, return_db: float) -> None:
        """Follow the upper edge of what comes back: quickly up, slowly down: one loud syllable is remembered."""
        step_db = 1.0 if return_db > self._echo_return_db else -0.2
        self._echo_return_db = min(ECHO_RETURN_AT_FIRST_DB, max(ECHO_RETURN_BEST_DB, self._echo_return_db + step_db))

    @property
    def is_up(self) -> bool:
        """True while a run of speech goes on."""
        return self.quiet_ms < BREAK_MS
