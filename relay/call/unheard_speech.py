"""Finds speech that the server's VAD does not hear. A session that misses it is deaf.

A loud sound alone is no proof. A fan, a car, or cloth on the phone may be as loud as a voice for a second, and no VAD
calls it speech. The level of speech swings: it falls and rises by 5 dB or more with each syllable, three to five times
a second. And a run of speech is longer than a knock.
"""

from __future__ import annotations

from dataclasses import dataclass

# If there is this much speech on the caller's line and the server's VAD hears none, the session is deaf. A VAD that
# works hears a voice within 0.3 s.
DEAF_AFTER_MS = 1_500
# After a short question the caller waits, and then this much is enough. A cough, or two words to somebody else, are
# shorter.
QUESTION_MS = 600
WAITED_S = 2.5
# Shorter runs are knocks, however much their level swings.
RUN_MS = 400
# A swing is a fall and a rise by at least this much. A run with at least this many swings is speech.
SWING_DB = 5.0
SWINGS = 2
LONG_RUN_MS = 1_500  # A longer run needs more swings, in proportion.
# "Can you hear me?" has one swing. For a run of QUESTION_MS one swing is enough if it is this deep. White and rumbling
# noise swings by up to 5 dB when it begins. The short questions of the clips swing by 10 dB and more.
DEEP_SWING_DB = 9.0
# Quiet frames for longer than this are a break in the run. A single quiet frame may be a lost packet.
BREAK_MS = 40
# The level of rumbling noise changes from frame to frame, the level of speech from syllable to syllable. So each frame
# changes the measured level only by this share.
SMOOTHING = 0.35


@dataclass(slots=True)
class UnheardSpeech:
    """The sound since the server's VAD last heard anything, if it was like speech. Times are of caller audio."""

    _ms: int = 0  # The length of earlier runs that were speech.
    _run_ms: int = 0
    _swings: int = 0
    _deepest_db: float = 0.0  # The deepest swing of the run.
    _high_dbfs: float = -100.0  # The highest level since the last fall.
    _low_dbfs: float = 0.0  # The lowest level since the last rise.
    _high_before_dbfs: float = -100.0  # The highest level before that low.
    _falls: bool = False
    _smooth_dbfs: float = -100.0
    _break_dbfs: float = -100.0  # The loudest of the present quiet frames.

    def hear(self, level_dbfs: float, run_ms: int, ms: int, *, is_loud: bool) -> None:
        """A frame of `ms` in a run of speech. The run is `run_ms` long up to its latest loud frame."""
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
        """Follow the swings of the run's level."""
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
        """True if the session must be deaf. `waited_s`: how long the caller has been quiet again."""
        ms = self._ms + self._speech_ms
        return ms >= DEAF_AFTER_MS or (ms >= QUESTION_MS and waited_s >= WAITED_S)

    def forget(self) -> None:
        """The VAD heard something, or another session listens. Measuring begins again."""
        self._begin()
        self._ms = 0
