"""Finds speech that the server's VAD does not hear. Then the model session is deaf, and the call needs another one.

A loud sound alone does not prove speech. A fan, a car, or cloth on the phone may be as loud as a voice for a second,
and a good VAD does not report it. Speech is recognised by two things. Its level swings: it falls and rises by 5 dB or
more with each syllable, three to five times a second. And it lasts longer than a knock.
"""

from __future__ import annotations

from dataclasses import dataclass

# If the server's VAD misses this much speech, the session is deaf. A VAD that works reports a voice within 0.3 s.
DEAF_AFTER_MS = 1_500
# If the caller then is silent for WAITED_S, this much speech is enough: they have asked a short question and wait. A
# cough, or two words to somebody else, are shorter.
QUESTION_MS = 600
WAITED_S = 2.5
# A run is sound without a pause. A run that is shorter than this is a knock, even if its level swings.
RUN_MS = 400
# A swing is a fall and a rise of the level by at least SWING_DB. A run with SWINGS swings is speech.
SWING_DB = 5.0
SWINGS = 2
LONG_RUN_MS = 1_500  # If a run is longer than this, it needs more swings, in proportion to its length.
# "Can you hear me?" has only one swing. In a run of QUESTION_MS, one swing of this depth is enough. White and rumbling
# noise swings by up to 5 dB when it begins. The short questions of the clips swing by 10 dB and more.
DEEP_SWING_DB = 9.0
# Quiet frames for longer than this are a pause. One single quiet frame may be a lost packet.
BREAK_MS = 40
# Each frame changes the measured level only by this share of the difference. So the level of rumbling noise, which
# changes from frame to frame, becomes even. The level of speech changes from syllable to syllable, and still swings.
SMOOTHING = 0.35


@dataclass(slots=True)
class UnheardSpeech:
    """Measures the sound since the server's VAD last heard anything. Times are of caller audio."""

    _ms: int = 0  # The length of the earlier runs that were speech.
    _run_ms: int = 0
    _swings: int = 0
    _deepest_db: float = 0.0  # The deepest swing of the present run.
    _high_dbfs: float = -100.0  # The highest level since the last fall.
    _low_dbfs: float = 0.0  # The lowest level since the last rise.
    _high_before_dbfs: float = -100.0  # The highest level before that lowest level.
    _falls: bool = False
    _smooth_dbfs: float = -100.0
    _break_dbfs: float = -100.0  # The loudest of the present quiet frames.

    def hear(self, level_dbfs: float, run_ms: int, ms: int, *, is_loud: bool) -> None:
        """Measure a frame of `ms` in a run of sound. `run_ms` is the length of the run up to its newest loud frame."""
        if not is_loud:
            self._break_dbfs = max(self._break_dbfs, level_dbfs)
            return
        if run_ms <= self._run_ms or self._run_ms == 0:
            self._begin()
        elif run_ms > self._run_ms + ms + BREAK_MS:
            self._measure(self._break_dbfs)
            self._smooth_dbfs = level_dbfs
        self._run_ms, self._break_dbfs = run_ms, -100.0
        self._smooth_dbfs += (level_dbfs - self._smooth_dbfs) * (SMOOTHING if self._smooth_dbfs > -100.0 else 1.0)
        self._measure(self._smooth_dbfs)

    def _measure(self, level_dbfs: float) -> None:
        """Find the swings of the level in the present run."""
        if self._falls:
            self._low_dbfs = min(self._low_dbfs, level_dbfs)
            if level_dbfs >= self._low_dbfs + SWING_DB:
                self._swings, self._falls = self._swings + 1, False
                self._high_before_dbfs, self._high_dbfs = self._high_dbfs, level_dbfs
        else:
            self._high_dbfs = max(self._high_dbfs, level_dbfs)
            if level_dbfs <= self._high_dbfs - SWING_DB:
                self._falls, self._low_dbfs = True, level_dbfs
        if self._swings and not self._falls:
            depth_db = min(self._high_before_dbfs, self._high_dbfs) - self._low_dbfs
            self._deepest_db = max(self._deepest_db, depth_db)

    def _begin(self) -> None:
        self._ms += self._speech_ms
        self._run_ms, self._swings, self._deepest_db, self._falls = 0, 0, 0.0, False
        self._high_dbfs, self._smooth_dbfs = -100.0, -100.0

    @property
    def _speech_ms(self) -> int:
        swings = SWINGS * max(1.0, self._run_ms / LONG_RUN_MS)
        is_speech = self._run_ms >= RUN_MS and self._swings >= swings
        is_question = QUESTION_MS <= self._run_ms < LONG_RUN_MS and self._deepest_db >= DEEP_SWING_DB
        return self._run_ms if is_speech or is_question else 0

    def is_enough(self, waited_s: float) -> bool:
        """True if the session must be deaf. `waited_s`: how many seconds the caller has been silent."""
        ms = self._ms + self._speech_ms
        return ms >= DEAF_AFTER_MS or (ms >= QUESTION_MS and waited_s >= WAITED_S)

    def forget(self) -> None:
        """Begin again: the VAD has heard something, or another session is used."""
        self._begin()
        self._ms = 0
